import type {
  Attributes,
  Counter,
  Histogram,
  Meter,
  ObservableResult,
  Tracer,
  UpDownCounter,
} from '@opentelemetry/api';
import { exceptionOf } from '../errors.text.js';
import { findOpenTelemetry, INSTRUMENTATION } from '../jobs/job.metrics.js';
import { Durations } from './durations.js';
import type { Count } from './worker.stats.js';

type OpenTelemetry = typeof import('@opentelemetry/api');

/** The present state of a queue. */
export interface QueueState {
  readonly queue: string;
  /** How many rows are due. */
  readonly depth: number;
  /** How long the job or notification that waits longest has been due, in ms. */
  readonly ageMs: number;
}

/** The buckets of `frameforge.claim.duration`. They begin at half a millisecond; the default buckets are too coarse. */
const CLAIM_BUCKETS_S = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** The buckets of waiting and running times: from 10 ms to two hours. */
const WAIT_BUCKETS_S = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200];
const RUN_BUCKETS_S = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200];
const DELIVERY_BUCKETS_S = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Records an error in a span. */
export type RecordError = (error: unknown) => void;

/** Counts events for `worker.stats()`, and for OpenTelemetry if it is installed. */
export class Telemetry {
  readonly counts: Record<Count, number> = {
    'jobs.created': 0,
    'jobs.claimed': 0,
    'jobs.completed': 0,
    'jobs.retried': 0,
    'jobs.failed': 0,
    'jobs.lost': 0,
    'jobs.released': 0,
    'jobs.cancelled': 0,
    'deliveries.claimed': 0,
    'deliveries.sent': 0,
    'deliveries.retried': 0,
    'deliveries.failed': 0,
    'deliveries.lost': 0,
  };

  /** How many handlers go on although their leases have ended. */
  readonly hanging = { jobs: 0, deliveries: 0 };

  /** Waiting times of the jobs that were started since the last report. */
  readonly waited = new Durations();
  /** Running times of the runs that ended since the last report. */
  readonly ran = new Durations();

  private readonly hangingCounter: UpDownCounter | undefined;
  private readonly counters = new Map<Count, Counter>();
  private readonly claims: Histogram | undefined;
  private readonly waits: Histogram | undefined;
  private readonly runs: Histogram | undefined;
  private readonly deliveries: Histogram | undefined;

  constructor(
    private readonly api?: OpenTelemetry,
    private readonly meter = api?.metrics.getMeter(INSTRUMENTATION) as Meter | undefined,
    private readonly tracer = api?.trace.getTracer(INSTRUMENTATION) as Tracer | undefined,
  ) {
    const histogram = (name: string, description: string, explicitBucketBoundaries: number[]) =>
      meter?.createHistogram(`frameforge.${name}.duration`, {
        unit: 's',
        description,
        advice: { explicitBucketBoundaries },
      });
    this.claims = histogram(
      'claim',
      'How long a claim took, from its sending to its reply.',
      CLAIM_BUCKETS_S,
    );
    this.waits = histogram(
      'job.wait',
      'How long a job that was started had been due.',
      WAIT_BUCKETS_S,
    );
    this.runs = histogram(
      'job.run',
      'How long a run of a job took, from its handler to the record of its outcome.',
      RUN_BUCKETS_S,
    );
    this.deliveries = histogram(
      'delivery',
      'How long a delivery took, from its handler to the record of its outcome.',
      DELIVERY_BUCKETS_S,
    );
    this.hangingCounter = meter?.createUpDownCounter('frameforge.handlers.hanging', {
      unit: '{handler}',
      description: 'How many handlers go on although their leases have ended.',
    });
  }

  /** Creates the counters, with OpenTelemetry if the application has it. */
  static async create(): Promise<Telemetry> {
    return new Telemetry(await findOpenTelemetry());
  }

  count(name: Count, by = 1): void {
    if (by === 0) return;
    this.counts[name] += by;
    // Created jobs are counted in job.metrics.ts, with or without a worker.
    if (this.meter === undefined || name === 'jobs.created') return;
    const unit = name.startsWith('jobs.') ? '{job}' : '{delivery}';
    const counter =
      this.counters.get(name) ?? this.meter.createCounter(`frameforge.${name}`, { unit });
    this.counters.set(name, counter);
    counter.add(by);
  }

  /** @param by - 1 for a handler that goes on after the end of its lease, -1 when it ends */
  hangs(what: 'jobs' | 'deliveries', by: 1 | -1): void {
    this.hanging[what] += by;
    this.hangingCounter?.add(by, { queue: what === 'jobs' ? what : 'notifications' });
  }

  /** @param ms - how long a claim took, from its sending to its reply */
  claimed(queue: string, ms: number): void {
    this.claims?.record(ms / 1_000, { queue });
  }

  /** @param ms - how long a job that is started had been due */
  jobWaited(ms: number): void {
    this.waited.record(ms);
    this.waits?.record(Math.max(ms, 0) / 1_000);
  }

  /** @param ms - how long a run took */
  jobRan(ms: number, outcome: string): void {
    this.ran.record(ms);
    this.runs?.record(ms / 1_000, { outcome });
  }

  /** @param ms - how long a delivery took */
  delivered(ms: number, outcome: string): void {
    this.deliveries?.record(ms / 1_000, { outcome });
  }

  /** Reports the queues whenever the application's metrics are collected. @returns a function that ends this */
  observeQueues(read: () => Promise<QueueState[]>): () => void {
    const depth = this.meter?.createObservableGauge('frameforge.queue.depth', {
      unit: '{item}',
      description: 'How many jobs or notifications are due.',
    });
    const age = this.meter?.createObservableGauge('frameforge.queue.age', {
      unit: 's',
      description: 'How long the one that waits longest has been due.',
    });
    if (depth === undefined || age === undefined) return () => {};
    let states: Promise<QueueState[]> | undefined;
    const observe =
      (value: (state: QueueState) => number) =>
      async (result: ObservableResult): Promise<void> => {
        // Both gauges are collected together, so one statement serves both.
        states ??= read().finally(() => (states = undefined));
        for (const state of await states) result.observe(value(state), { queue: state.queue });
      };
    const [onDepth, onAge] = [
      observe((state) => state.depth),
      observe((state) => state.ageMs / 1_000),
    ];
    depth.addCallback(onDepth);
    age.addCallback(onAge);
    return () => {
      depth.removeCallback(onDepth);
      age.removeCallback(onAge);
    };
  }

  /** Whether the application has registered an SDK. Without one nobody reads spans, so none are made. */
  private get isTraced(): boolean {
    const provider = this.api?.trace.getTracerProvider();
    const { ProxyTracerProvider } = this.api ?? {};
    return !(
      ProxyTracerProvider !== undefined &&
      provider instanceof ProxyTracerProvider &&
      provider.getDelegateTracer(INSTRUMENTATION) === undefined
    );
  }

  /** Runs work in a span, if the application has an SDK. The outcome is an attribute, and an error is recorded. */
  span<T extends string>(
    name: 'process' | 'deliver',
    id: string,
    attempt: number,
    work: (recordError: RecordError) => Promise<T>,
  ): Promise<T> {
    const { api, tracer } = this;
    if (api === undefined || tracer === undefined || !this.isTraced) return work(() => {});
    const attributes: Attributes = { 'messaging.message.id': id, 'frameforge.attempt': attempt };
    const kind = api.SpanKind.CONSUMER;
    return tracer.startActiveSpan(`frameforge ${name}`, { kind, attributes }, async (span) => {
      const recordError = (error: unknown): void => {
        span.recordException(exceptionOf(error));
      };
      try {
        const outcome = await work(recordError);
        span.setAttribute('frameforge.outcome', outcome);
        if (outcome === 'failed' || outcome === 'retried') {
          span.setStatus({ code: api.SpanStatusCode.ERROR });
        }
        return outcome;
      } catch (error) {
        recordError(error);
        span.setStatus({ code: api.SpanStatusCode.ERROR });
        throw error;
      } finally {
        span.end();
      }
    });
  }
}
