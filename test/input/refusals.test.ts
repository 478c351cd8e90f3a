import { InvalidInputError } from '../../src/errors.js';
import { NotificationType } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { DatabaseWatch, ID, input, job, result } from './watch.js';

let h: Harness;
let watch: DatabaseWatch;
beforeAll(async () => {
  h = await openHarness();
  watch = new DatabaseWatch(h);
});
afterAll(() => h.close());

const textMessage = (max: number): string =>
  `must be a string of 1 to ${max} characters, without NUL characters or lone surrogates`;
const forged = (position: string): string => Buffer.from(position).toString('base64url');

describe('what a user can get wrong', () => {
  const uuidMessage = 'must be a UUID';
  const urlMessage =
    'must be a URL with a scheme, such as https://host/path or s3://bucket/key, of at most 8192 characters';
  const surplus = 'is not a property of this input';
  const cursorMessage = 'must be a nextCursor that an earlier page returned';
  const limit = 'must be an integer from 1 to 1000';

  it.each<[string, () => Promise<unknown>, Record<string, string>]>([
    ['no UUID', () => h.jobs.createJob({ ...input, userId: 'me' }), { userId: uuidMessage }],
    [
      'no user',
      () => h.jobs.createJob({ ...input, userId: undefined as never }),
      { userId: uuidMessage },
    ],
    [
      'an empty file name',
      () => h.jobs.createJob({ ...input, filename: '' }),
      { filename: textMessage(255) },
    ],
    [
      'an over-long file name',
      () => h.jobs.createJob({ ...input, filename: 'x'.repeat(256) }),
      { filename: textMessage(255) },
    ],
    [
      'a NUL character',
      () => h.jobs.createJob({ ...input, filename: 'a\0b' }),
      { filename: textMessage(255) },
    ],
    [
      'a lone surrogate',
      () => h.jobs.createJob({ ...input, filename: 'a\ud800' }),
      { filename: textMessage(255) },
    ],
    [
      'a URL that is no URL',
      () => h.jobs.createJob({ ...input, videoUrl: 'cat.mp4' }),
      { videoUrl: urlMessage },
    ],
    [
      'a time that is no time',
      () => h.jobs.createJob({ ...input, availableAt: new Date(Number.NaN) }),
      { availableAt: 'must be a Date from 1970 to 9999; in JSON, as 2030-01-31T12:00:00Z' },
    ],
    [
      'all of it, each by its property',
      () =>
        h.jobs.createJob({ userId: 1, filename: '', videoUrl: null, jobId: 'x', more: 1 } as never),
      {
        userId: uuidMessage,
        filename: textMessage(255),
        videoUrl: urlMessage,
        jobId: uuidMessage,
        more: surplus,
      },
    ],
    [
      'a property that is spelt like one of an object',
      () =>
        h.jobs.createJob(JSON.parse(JSON.stringify({ ...input, _: 1 }).replace('_', '__proto__'))),
      { ['__proto__']: surplus },
    ],
    [
      'entries of a batch, each by its place',
      () => h.jobs.createJobs([input, { ...input, filename: '' }, { ...input, userId: 'x' }]),
      { 'inputs.1.filename': textMessage(255), 'inputs.2.userId': uuidMessage },
    ],
    [
      'a batch that is too long',
      () => h.jobs.createJobs(Array.from({ length: 10_001 }, () => input)),
      { inputs: 'must be an array of 0 to 10000 entries' },
    ],
    [
      'a completion twice in a batch',
      () =>
        h.jobs.completeJobs([
          { job, result },
          { job: { ...job, jobId: ID.toUpperCase() }, result: { ...result, frameCount: -1 } },
        ]),
      {
        'completions.1.result.frameCount': 'must be an integer from 0 to 2147483647',
        'completions.1.job.jobId': 'is in this batch twice',
      },
    ],
    [
      'a negative frame count',
      () => h.jobs.completeJob(job, { ...result, frameCount: -1 }),
      { frameCount: 'must be an integer from 0 to 2147483647' },
    ],
    [
      'half a frame',
      () => h.jobs.completeJob(job, { ...result, frameCount: 0.5 }),
      { frameCount: 'must be an integer from 0 to 2147483647' },
    ],
    [
      'a handle without a worker',
      () => h.jobs.completeJob({ jobId: ID, runNumber: 1 } as never, result),
      { 'job.workerId': `${textMessage(255)}, or null for a job that was started without a lease` },
    ],
    ['a bare job id', () => h.jobs.completeJob(ID as never, result), { job: 'must be an object' }],
    [
      'an empty reason',
      () => h.jobs.failJob(job, { errorMessage: '' }),
      { errorMessage: textMessage(100_000) },
    ],
    ['a limit of 0', () => h.jobs.listJobs({ limit: 0 }), { limit }],
    ['a limit of 1,001', () => h.jobs.listJobs({ limit: 1001 }), { limit }],
    [
      'a lease of 0',
      () => h.jobs.claimJobs({ leaseMs: 0 }),
      { leaseMs: 'must be an integer from 1 to 2147483647' },
    ],
    [
      'a user who is undefined',
      () => h.jobs.listJobs({ userId: undefined }),
      { userId: uuidMessage },
    ],
    [
      'a user who is undefined, counting',
      () => h.jobs.countJobs({ userId: undefined }),
      { userId: uuidMessage },
    ],
    [
      'a user who is undefined, reading one',
      () => h.jobs.getJob(ID, { userId: undefined }),
      { 'options.userId': uuidMessage },
    ],
    [
      'a job that is undefined',
      () => h.notifications.listNotifications({ jobId: undefined }),
      { jobId: uuidMessage },
    ],
    [
      'a status that is none',
      () => h.jobs.listJobs({ status: 'done' as never }),
      { status: 'must be one of pending, processing, completed, failed' },
    ],
    ...['', 'x', forged('1'), forged('1.x'), forged(`-1.${ID}`), forged(`01.${ID}`)].map(
      (cursor): [string, () => Promise<unknown>, Record<string, string>] => [
        `a forged cursor '${cursor}'`,
        () => h.jobs.listJobs({ cursor }),
        { cursor: cursorMessage },
      ],
    ),
    [
      // PostgreSQL would refuse this time in the form in which JavaScript writes it.
      'a cursor of the year 33658',
      () => h.notifications.listNotifications({ cursor: forged(`999999999999999.${ID}`) }),
      { cursor: cursorMessage },
    ],
    [
      'a recipient who would add a header to the message',
      () =>
        h.notifications.logNotification({
          jobId: ID,
          notificationType: NotificationType.SUCCESS,
          recipientEmail: '"a\r\nBcc: b"@example.com',
        }),
      { recipientEmail: 'must be an e-mail address of at most 255 characters' },
    ],
    [
      'a misspelt manager',
      () => h.jobs.createJob(input, { mangaer: h.dataSource.manager } as never),
      { 'options.mangaer': surplus },
    ],
  ])('%s', async (_, call, expected) => {
    const problems = await watch.problemsOf(call);
    expect(
      Object.fromEntries(problems.map(({ property, message }) => [property, message])),
    ).toEqual(expected);
  });

  it('puts all problems into the message', async () => {
    await expect(h.jobs.createJob({ ...input, userId: 'me', filename: '' })).rejects.toThrow(
      `createJob was given invalid input, and did nothing: userId must be a UUID; ` +
        `filename ${textMessage(255)}.`,
    );
  });
});

it.each([undefined, null])(
  'refuses a manager that is %s: for no manager, leave out the key',
  async (manager) => {
    const jobs = h.jobs as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
    for (const [method, ...args] of [
      ['createJob', input],
      ['countJobs', {}],
      ['createJobs', [input]],
    ] as const) {
      await expect(jobs[method]?.(...args, { manager })).rejects.toMatchObject({
        code: 'INVALID_INPUT',
        problems: [
          {
            property: 'options.manager',
            message:
              'must be an EntityManager of TypeORM; leave it out for a call that is a transaction of its own',
          },
        ],
      });
    }
    expect((await h.jobs.countJobs({ userId: input.userId })).pending).toBe(0);
  },
);

it('runs no statement in a transaction that it refuses to join, and the transaction stays usable', async () => {
  await h.dataSource.transaction(async (manager) => {
    const client = (await manager.queryRunner?.connect()) as {
      query: (...args: unknown[]) => Promise<unknown>;
    };
    // The first call on a connection reads the settings of its session.
    await h.jobs.countJobs({}, { manager });
    const original = client.query;
    let statements = 0;
    client.query = (...args) => {
      statements += 1;
      return original.apply(client, args);
    };
    try {
      await expect(h.jobs.createJob({ ...input, filename: '' }, { manager })).rejects.toThrow(
        InvalidInputError,
      );
      await expect(h.jobs.createJobs([input, {} as never], { manager })).rejects.toThrow(
        InvalidInputError,
      );
      expect(statements).toBe(0);
      await h.jobs.countJobs({}, { manager });
      expect(statements).toBe(1);
    } finally {
      client.query = original;
    }
  });
});
