import { metrics, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Attributes } from '@opentelemetry/api';
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { once } from 'node:events';
import { JobService } from '../../src/jobs/job.service.js';
import { FrameForgeWorker, UnrecoverableJobError } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import type { Behaviour } from './app.js';
import { World } from './world.js';

/** A reader of metrics that collects only when the test asks for it. */
class Reader extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}

  /** The latest value of each series, and the units. The value of a histogram is the number of its records. */
  async read() {
    const { resourceMetrics, errors } = await this.collect();
    const values = new Map<string, number>();
    const units: Record<string, string> = {};
    for (const { metrics: all } of resourceMetrics.scopeMetrics) {
      for (const { descriptor, dataPoints } of all) {
        units[descriptor.name] = descriptor.unit;
        for (const { attributes, value } of dataPoints) {
          const name = [descriptor.name, ...Object.values(attributes)].join(' ');
          values.set(name, typeof value === 'number' ? value : value.count);
        }
      }
    }
    return { values, units, errors };
  }
}

const reader = new Reader();
const spans = new InMemorySpanExporter();
let world: World;
beforeAll(async () => {
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  const spanProcessors = [new SimpleSpanProcessor(spans)];
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }));
  world = await World.open();
});
afterAll(async () => {
  await world.close();
  metrics.disable();
  trace.disable();
});

const HANDLER: Behaviour['process'] = async ({ filename }, { attempt, signal }) => {
  if (filename === 'flaky' && attempt === 1) throw new Error('not yet');
  if (filename === 'broken') throw new UnrecoverableJobError('no video stream');
  if (filename === 'stuck') await once(signal, 'abort');
  return RESULT;
};

/** A span of a run, as the tests compare it. */
const span = (attempt: number, outcome: string, ...error: string[]) => ({
  name: 'frameforge process',
  kind: SpanKind.CONSUMER,
  failed: outcome !== 'completed' && outcome !== 'lost',
  outcome,
  attempt,
  error,
});

/** Durations in seconds, as the semantic conventions of OpenTelemetry require. */
const UNITS = {
  'frameforge.jobs.created': '{job}',
  'frameforge.handlers.hanging': '{handler}',
  'frameforge.jobs.claimed': '{job}',
  'frameforge.jobs.completed': '{job}',
  'frameforge.jobs.retried': '{job}',
  'frameforge.jobs.failed': '{job}',
  'frameforge.jobs.lost': '{job}',
  'frameforge.deliveries.claimed': '{delivery}',
  'frameforge.deliveries.sent': '{delivery}',
  'frameforge.deliveries.retried': '{delivery}',
  'frameforge.claim.duration': 's',
  'frameforge.job.wait.duration': 's',
  'frameforge.job.run.duration': 's',
  'frameforge.delivery.duration': 's',
  'frameforge.queue.depth': '{item}',
  'frameforge.queue.age': 's',
};

const stuck = (): Promise<never> => new Promise(() => {});

it('counts events, and makes spans', async () => {
  let refused = false;
  const deliver = async (): Promise<void> => {
    if (refused) return;
    refused = true;
    throw new Error('the provider is down');
  };
  // A busy machine must not lose a lease that the test does not steal.
  const options = { pollMs: 20, deliveryBackoff: { baseMs: 10, maxMs: 10 }, leaseMs: 3_000 };
  const app = await bootWorker(world.harness.url, { process: HANDLER, deliver }, options);
  const worker = app.get(FrameForgeWorker);
  try {
    const jobs = app.get(JobService);
    const [repeated, ...others] = world.inputs('fine', 'flaky', 'broken', 'stuck');
    const { jobId } = await jobs.createJob({ ...repeated!, jobId: crypto.randomUUID() });
    // A repeated call creates nothing, so it does not count.
    await jobs.createJob({ ...repeated!, jobId });
    const [flaky, broken, lost] = await jobs.createJobs(others);
    await until(() => worker.stats().counts['deliveries.sent'] === 3);
    await until(async () => (await world.job(lost!)).status === 'processing');
    await world.steal(lost!);
    await until(() => worker.stats().counts['jobs.lost'] === 1);

    const expected = {
      'jobs.created': 4,
      'jobs.claimed': 5,
      'jobs.completed': 2,
      'jobs.retried': 1,
      'jobs.failed': 1,
      'jobs.lost': 1,
      'jobs.released': 0,
      'jobs.cancelled': 0,
      'deliveries.claimed': 4,
      'deliveries.sent': 3,
      'deliveries.retried': 1,
      'deliveries.failed': 0,
      'deliveries.lost': 0,
    };
    expect(worker.stats()).toEqual({
      running: { jobs: 0, deliveries: 0 },
      hanging: { jobs: 0, deliveries: 0 },
      counts: expected,
      database: 'up',
    });
    const { values, units, errors } = await reader.read();
    expect(errors).toEqual([]);
    expect(units).toEqual(UNITS);
    for (const [name, count] of Object.entries(expected)) {
      expect([name, values.get(`frameforge.${name}`) ?? 0]).toEqual([name, count]);
    }
    // Each duration is recorded once for each start, with the outcome. A lost run has no outcome.
    const durations = [...values].filter(([name]) => /(run|delivery)\.duration/.test(name));
    expect(Object.fromEntries(durations)).toEqual({
      'frameforge.job.run.duration completed': 2,
      'frameforge.job.run.duration retried': 1,
      'frameforge.job.run.duration failed': 1,
      'frameforge.delivery.duration sent': 3,
      'frameforge.delivery.duration retried': 1,
    });
    expect(values.get('frameforge.job.wait.duration')).toBe(5);
    for (const queue of ['jobs', 'notifications']) {
      expect(values.get(`frameforge.claim.duration ${queue}`)).toBeGreaterThan(0);
      expect(values.get(`frameforge.queue.depth ${queue}`)).toBe(0);
      expect(values.get(`frameforge.queue.age ${queue}`)).toBe(0);
    }

    const told = (id: string) =>
      spans
        .getFinishedSpans()
        .filter(({ attributes }) => attributes['messaging.message.id'] === id)
        .map(({ name, kind, status, attributes, events }) => ({
          name,
          kind,
          failed: status.code === SpanStatusCode.ERROR,
          outcome: attributes['frameforge.outcome'],
          attempt: attributes['frameforge.attempt'],
          error: events.map(
            ({ attributes: a }: { attributes?: Attributes }) => a?.['exception.message'],
          ),
        }));
    expect(told(jobId)).toEqual([span(1, 'completed')]);
    expect(told(flaky!.jobId)).toEqual([span(1, 'retried', 'not yet'), span(2, 'completed')]);
    expect(told(broken!.jobId)).toEqual([span(1, 'failed', 'no video stream')]);
    expect(told(lost!.jobId)).toEqual([span(1, 'lost')]);
    const deliveries = spans.getFinishedSpans().filter(({ name }) => name === 'frameforge deliver');
    const outcomes = deliveries.map(({ attributes }) => attributes['frameforge.outcome']);
    expect(outcomes.toSorted()).toEqual(['retried', 'sent', 'sent', 'sent']);
  } finally {
    await app.close();
  }
});

it('reports the queues, and sends no statement after the worker has stopped', async () => {
  await world.clear();
  const options = { shutdownMs: 0, pollMs: 20 };
  const behaviour = { process: stuck, concurrency: 1, database: { shutdownTimeoutMs: 100 } };
  const app = await bootWorker(world.harness.url, behaviour, options);
  try {
    await world.create('a');
    await until(() => app.get(FrameForgeWorker).stats().running.jobs === 1);
    await world.create('b', 'c');
    expect((await reader.read()).values.get('frameforge.queue.depth jobs')).toBe(2);
    // The age is in whole milliseconds.
    await until(
      async () => Number((await reader.read()).values.get('frameforge.queue.age jobs')) > 0,
    );
  } finally {
    await app.close();
  }
  // The database would refuse a statement now.
  expect((await reader.read()).errors).toEqual([]);
});

const gauge = async (): Promise<number> =>
  (await reader.read()).values.get('frameforge.handlers.hanging notifications') ?? 0;

it('reports how many handlers go on after their lease', async () => {
  await world.clear();
  expect(await gauge()).toBe(0);
  const ends: (() => void)[] = [];
  const deliver = (_: unknown, { attempt }: { attempt: number }): Promise<void> =>
    attempt > 1 ? Promise.resolve() : new Promise((resolve) => ends.push(resolve));
  const options = { pollMs: 20, deliveryLeaseMs: 1_000 };
  const app = await bootWorker(world.harness.url, { deliver }, options);
  await world.create('fine');
  await until(async () => (await gauge()) === 1);
  for (const end of ends) end();
  await until(async () => (await gauge()) === 0);
  await app.close();
});

it.each(['forRoot', 'forFeature'])('%s counts created jobs, without a worker', async (how) => {
  await world.clear();
  const before = (await reader.read()).values.get('frameforge.jobs.created') ?? 0;
  const { NestFactory } = await import('@nestjs/core');
  const { FrameForgeDatabaseModule } = await import('../../src/database.module.js');
  const { TypeOrmModule } = await import('@nestjs/typeorm');
  const { url } = world.harness;
  const { frameForgeEntities: entities } = await import('../../src/schema/entities/index.js');
  const theirs = { type: 'postgres', url, entities, installExtensions: false } as const;
  class Root {}
  const imports =
    how === 'forRoot'
      ? [FrameForgeDatabaseModule.forRoot({ url })]
      : [TypeOrmModule.forRoot(theirs), FrameForgeDatabaseModule.forFeature()];
  const module = { module: Root, imports };
  const app = await NestFactory.createApplicationContext(module, { logger: false });
  const jobs = app.get(JobService, { strict: false });
  await jobs.createJobs(world.inputs('a', 'b'));
  const rolledBack = jobs.dataSource.transaction(async (manager) => {
    await jobs.createJobs(world.inputs('c', 'd'), { manager });
    throw new Error('rolled back');
  });
  await expect(rolledBack).rejects.toThrow('rolled back');
  const [failing] = await jobs.claimJobs({ limit: 1 });
  await jobs.failJob(failing!, { errorMessage: 'broken' });
  await jobs.retryJob(failing!.jobId);
  expect((await reader.read()).values.get('frameforge.jobs.created')).toBe(before + 2);
  await app.close();
  await world.create('e');
  expect((await reader.read()).values.get('frameforge.jobs.created')).toBe(before + 2);
});

it('works without OpenTelemetry, an optional peer', async () => {
  await world.clear();
  const worker = await world.worker({ without: '@opentelemetry/api' });
  const [job] = await world.create('sleep:0');
  expect(await world.final(job!)).toMatchObject({ status: 'completed' });
  await until(async () => (await worker.stats()).counts['jobs.completed'] === 1);
});
