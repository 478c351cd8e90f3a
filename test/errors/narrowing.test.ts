import {
  FrameForgeError,
  InvalidInputError,
  InvalidJobTransitionError,
  isFrameForgeError,
  JobNotFoundError,
  LeaseLostError,
} from '../../src/index.js';
import type { AnyFrameForgeError, FrameForgeErrorCode } from '../../src/index.js';

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;

// These lines test the types: the file does not compile if one of them is wrong.
const eachHasACodeOfItsOwn: Same<
  Extract<AnyFrameForgeError, { code: 'LEASE_LOST' }>,
  LeaseLostError
> = true;
const codeIsOfLiterals: string extends FrameForgeErrorCode ? false : true = true;

/** Narrows a caught error as a caller would. Each case has the data fields of its class. */
function describeError(error: unknown): string {
  if (!isFrameForgeError(error)) return 'not ours';
  switch (error.code) {
    case 'INVALID_INPUT':
      return error.problems.map(({ property }) => property).join();
    case 'JOB_NOT_FOUND':
      return error.jobId;
    case 'INVALID_JOB_TRANSITION':
      return `${error.move} ${error.status} ${error.runNumber}`;
    case 'LEASE_LOST':
      return `${error.jobId} ${error.runNumber}`;
    case 'DATABASE_UNAVAILABLE':
      return error.outcome;
    default:
      return error.code;
  }
}

it('narrows to the class of each code', () => {
  expect([eachHasACodeOfItsOwn, codeIsOfLiterals]).toEqual([true, true]);
  const jobId = 'a job';
  expect(
    [
      new InvalidInputError('createJob', [{ property: 'filename', message: 'is wrong' }]),
      new JobNotFoundError(jobId),
      new InvalidJobTransitionError(jobId, 'completed', 'failed', 7),
      new LeaseLostError({ jobId, status: 'pending', runNumber: 3 }),
      new Error('of somebody else'),
      { code: 'LEASE_LOST' },
      undefined,
    ].map(describeError),
  ).toEqual([
    'filename',
    jobId,
    'completed failed 7',
    `${jobId} 3`,
    'not ours',
    'not ours',
    'not ours',
  ]);
});

it('can also be recognized by its class', () => {
  expect(new JobNotFoundError('a job')).toBeInstanceOf(FrameForgeError);
});
