import { randomUUID } from 'node:crypto';
import { Type } from 'class-transformer';
import { IsIn, IsInt, IsOptional, Max, Min, ValidateNested } from 'class-validator';
import type { InputProblem } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { toJobView } from '../../src/jobs/job.view.js';
import type { CreateJobInput } from '../../src/jobs/job.inputs.js';
import { VideoJob } from '../../src/schema/entities/index.js';
import { DatabaseWatch } from '../input/watch.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, makers, result, stored, video } from './fixtures.js';

let h: Harness;
let make: ReturnType<typeof makers>;
let userId: string;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
  ({ userId } = await h.user());
});
afterAll(() => h.close());

const parameters = { framesPerSecond: 2, size: { width: 640, height: 360 }, formats: ['jpg', 'ü'] };
const output = { duration: 12.5, frames: ['1.jpg'], thumbnail: null };
const input = (more: Partial<CreateJobInput> = {}): CreateJobInput => ({
  ...video,
  userId,
  ...more,
});

describe('the parameters of a job', () => {
  it('are kept by each method that creates, reads or claims a job', async () => {
    const jobs = [
      await h.jobs.createJob(input({ parameters })),
      await h.jobs.createJob(input({ parameters, jobId: randomUUID() })),
      ...(await h.jobs.createJobs([input({ parameters }), input({ parameters })])),
      await h.dataSource.transaction((manager) =>
        h.jobs.createJob(input({ parameters }), { manager }),
      ),
    ];
    for (const job of jobs) {
      expect(job.parameters).toEqual(parameters);
      expect(await h.jobs.getJob(job.jobId)).toEqual(job);
      expect(toJobView(job).parameters).toEqual(parameters);
      const repository = h.dataSource.getRepository(VideoJob);
      expect(await repository.findOneByOrFail({ jobId: job.jobId })).toEqual(job);
    }
    const claimed = await h.jobs.claimJobs({ limit: 1_000, leaseMs: HOUR_MS });
    for (const { jobId } of jobs) {
      expect(claimed.find((job) => job.jobId === jobId)).toMatchObject({ parameters });
    }
  });

  it('stay with their own job where calls share a statement', async () => {
    const numbers = Array.from({ length: 50 }, (_, number) => number);
    const jobs = await Promise.all(
      numbers.map((number) =>
        h.jobs.createJob(input(number % 3 === 0 ? {} : { parameters: { number } })),
      ),
    );
    for (const [number, job] of jobs.entries()) {
      const own = number % 3 === 0 ? null : { number };
      expect(job.parameters).toEqual(own);
      expect(await stored(h.dataSource, job.jobId)).toMatchObject({ parameters: own });
    }
  });

  it('do not change when the caller changes the object after the call', async () => {
    const given = { list: [1] };
    const creating = h.jobs.createJob(input({ parameters: given }));
    given.list.push(2);
    const job = await creating;
    expect(job.parameters).toEqual({ list: [1] });
    expect(await h.jobs.getJob(job.jobId)).toEqual(job);
  });

  it('are part of the content that a repeated call must repeat; the order of keys is not', async () => {
    const jobId = randomUUID();
    const first = await h.jobs.createJob(input({ jobId, parameters }));
    const { framesPerSecond, size, formats } = parameters;
    const turned = { formats, size: { height: size.height, width: size.width }, framesPerSecond };
    expect(await h.jobs.createJob(input({ jobId, parameters: turned }))).toEqual(first);
    expect(
      await h.jobs.createJobs([input({ jobId, parameters }), input({ jobId, parameters: turned })]),
    ).toEqual([first, first]);
    const others = [undefined, null, {}, { ...parameters, framesPerSecond: 3 }];
    for (const other of [...others, { ...parameters, formats: ['ü', 'jpg'] }]) {
      const again = input({ jobId, parameters: other });
      await expect(h.jobs.createJob(again)).rejects.toMatchObject({ code: 'JOB_CONFLICT', jobId });
      await expect(h.jobs.createJobs([again])).rejects.toMatchObject({ code: 'JOB_CONFLICT' });
      // The same id twice in one call.
      const id = randomUUID();
      await expect(
        h.jobs.createJobs([input({ jobId: id, parameters }), { ...again, jobId: id }]),
      ).rejects.toMatchObject({ code: 'JOB_CONFLICT', jobId: id });
    }
    const without = await h.jobs.createJob(input({ jobId: randomUUID() }));
    expect(await h.jobs.createJob(input({ jobId: without.jobId, parameters: null }))).toEqual(
      without,
    );
    await expect(
      h.jobs.createJob(input({ jobId: without.jobId, parameters: {} })),
    ).rejects.toMatchObject({ code: 'JOB_CONFLICT' });
  });

  it('distinguish simultaneous calls with the same id', async () => {
    const jobId = randomUUID();
    const calls = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) =>
        h.jobs.createJob(input({ jobId, parameters: { n: n % 2 } })),
      ),
    );
    const { parameters: kept } = await h.jobs.getJob(jobId);
    for (const [n, call] of calls.entries()) {
      const isSame = kept?.['n'] === n % 2;
      expect(call.status).toBe(isSame ? 'fulfilled' : 'rejected');
    }
  });

  it('stay the same in all tries; services that do not know them create jobs without parameters', async () => {
    const job = await h.jobs.createJob(input({ parameters }));
    const run = await h.jobs.startJob(job.jobId, { leaseMs: HOUR_MS });
    await h.jobs.failJob(run, { errorMessage: 'no' });
    expect(await h.jobs.retryJob(job.jobId)).toMatchObject({ parameters });
    const [row] = await h.dataSource.query(
      `INSERT INTO video_jobs ("userId", filename, "videoUrl") VALUES ($1, 'a', 's3://a/b')
       RETURNING "jobId"`,
      [userId],
    );
    const older = await h.jobs.getJob(row.jobId);
    expect(older).toMatchObject({ parameters: null, output: null });
    await h.dataSource.query(
      `UPDATE video_jobs SET status = 'processing', "startedAt" = now() WHERE "jobId" = $1`,
      [job.jobId],
    );
    await h.dataSource.query(
      `UPDATE video_jobs SET status = 'completed', "completedAt" = now() WHERE "jobId" = $1`,
      [job.jobId],
    );
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ parameters, output: null });
  });
});

describe('the output of a job', () => {
  it('is kept by each method that completes a job', async () => {
    const [shared, alone, inBatch] = [
      await make.leased(),
      await make.unleased(),
      await make.leased(),
    ];
    const done = await h.jobs.completeJob(shared, { ...result, output });
    const joined = await h.dataSource.transaction((manager) =>
      h.jobs.completeJob(alone, { ...result, output }, { manager }),
    );
    const [batched] = await h.jobs.completeJobs([
      { job: inBatch, result: { ...result, output } },
      { job: await make.leased(), result },
    ]);
    for (const settled of [done, joined, batched!]) {
      const { job } = settled as typeof done;
      expect(job).toMatchObject({ output, status: 'completed' });
      expect(await h.jobs.getJob(job.jobId)).toEqual(job);
      expect(toJobView(job).output).toEqual(output);
    }
  });

  it('stays with its own job where completions share a statement', async () => {
    const jobs = await Promise.all(Array.from({ length: 30 }, () => make.leased()));
    const done = await Promise.all(
      jobs.map((job, number) =>
        h.jobs.completeJob(job, number % 2 === 0 ? result : { ...result, output: { number } }),
      ),
    );
    for (const [number, { job }] of done.entries()) {
      const own = number % 2 === 0 ? null : { number };
      expect(job.output).toEqual(own);
      expect(await stored(h.dataSource, job.jobId)).toMatchObject({ output: own });
    }
  });
});

describe('a value that is not JSON, or too large', () => {
  const wrong = [{ a: undefined }, { a: 1n }, { a: '\0' }, { a: 'x'.repeat(65_536) }, [1], 'x'];
  it.each(wrong.map((value) => [value]))('is refused before any SQL: %p', async (value) => {
    const watch = new DatabaseWatch(h);
    const job = { jobId: randomUUID(), runNumber: 1, workerId: 'w' };
    const given = input({ parameters: value as object });
    const completion = { ...result, output: value as object };
    for (const [property, call] of [
      ['parameters', () => h.jobs.createJob(given)],
      ['inputs.0.parameters', () => h.jobs.createJobs([given])],
      ['output', () => h.jobs.completeJob(job, completion)],
      ['completions.0.result.output', () => h.jobs.completeJobs([{ job, result: completion }])],
    ] as const) {
      expect(await watch.problemsOf(call)).toMatchObject([
        { property, message: expect.stringMatching(/^must be an object of JSON values/) },
      ]);
    }
  });

  it('is also refused by the database', async () => {
    const { jobId } = await make.pending();
    await expect(
      h.dataSource.query(`UPDATE video_jobs SET output = $2 WHERE "jobId" = $1`, [
        jobId,
        { a: 'x'.repeat(65_536) },
      ]),
    ).rejects.toMatchObject({ constraint: 'chk_jobs_output_size' });
  });
});

const propertiesOf = (problems: readonly InputProblem[]): string[] => [
  ...new Set(problems.map(({ property }) => property)),
];

class Size {
  @IsInt() @Min(16) width!: number;
  @IsInt() @Min(16) height!: number;
}

class ExtractionParameters {
  @Min(0.1) @Max(60) framesPerSecond!: number;
  @IsIn(['jpg', 'png']) format = 'jpg';
  @IsOptional() @ValidateNested() @Type(() => Size) size?: Size;
}

const service = (): JobService =>
  new JobService(h.dataSource, { jobParameters: ExtractionParameters });

describe('with the option jobParameters', () => {
  it('accepts what the class allows, and stores it unchanged', async () => {
    const plain = { framesPerSecond: 2, size: { width: 640, height: 360 } };
    expect((await service().createJob(input({ parameters: plain }))).parameters).toEqual(plain);
    const instance = Object.assign(new ExtractionParameters(), { framesPerSecond: 1 });
    const [job] = await service().createJobs([input({ parameters: instance })]);
    expect(job?.parameters).toEqual({ framesPerSecond: 1, format: 'jpg' });
  });

  it.each<[object | undefined, string[]]>([
    [undefined, ['framesPerSecond']],
    [{ framesPerSecond: 0, format: 'gif' }, ['framesPerSecond', 'format']],
    [{ framesPerSecond: 1, size: { width: 1, height: 360 } }, ['size.width']],
    [{ framesPerSecond: 1, more: 1 }, ['more']],
    [{ framesPerSecond: 1, size: 'large' }, ['size']],
  ])('refuses %p before any SQL', async (given, names) => {
    const watch = new DatabaseWatch(h);
    const jobs = service();
    const one = await watch.problemsOf(() => jobs.createJob(input({ parameters: given })));
    expect(propertiesOf(one)).toEqual(names.map((name) => `parameters.${name}`));
    const good = input({ parameters: { framesPerSecond: 1 } });
    const many = await watch.problemsOf(() =>
      jobs.createJobs([good, input({ parameters: given })]),
    );
    expect(propertiesOf(many)).toEqual(names.map((name) => `inputs.1.parameters.${name}`));
  });

  it('has messages that follow the name of the property', async () => {
    const call = service().createJob(input({ parameters: { framesPerSecond: 99, a: 1 } }));
    await expect(call).rejects.toThrow(
      'createJob was given invalid input, and did nothing: ' +
        'parameters.a is not a property of the class that `jobParameters` names; ' +
        'parameters.framesPerSecond must not be greater than 60.',
    );
  });
});
