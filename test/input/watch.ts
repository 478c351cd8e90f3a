import { InvalidInputError } from '../../src/errors.js';
import type { InputProblem } from '../../src/errors.js';
import type { Harness } from '../support/harness.js';

/** Sees whether a call reaches the database. */
export class DatabaseWatch {
  /** How often a connection was taken from the pool. Every statement needs one. */
  taken = 0;

  constructor({ dataSource }: Harness) {
    const { master } = dataSource.driver as unknown as { master: NodeJS.EventEmitter };
    master.on('acquire', () => {
      this.taken += 1;
    });
  }

  /** The problems that a refusal lists. The call must reject, and must not use the database. */
  async problemsOf(call: () => Promise<unknown>): Promise<readonly InputProblem[]> {
    const before = this.taken;
    const promise = call();
    const error = await promise.then(
      () => new Error('The call was accepted.'),
      (reason: unknown) => reason,
    );
    expect(this.taken).toBe(before);
    expect(error).toBeInstanceOf(InvalidInputError);
    return (error as InvalidInputError).problems;
  }
}

export const ID = '0190f2a4-5c6e-7abc-8def-0123456789ab';
export const job = { jobId: ID, runNumber: 1, workerId: 'w' };
export const input = { userId: ID, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' };
export const result = { resultUrl: 's3://frames/cat.zip', frameCount: 1 };
