import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { JobService } from '../../src/jobs/job.service.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { JobCompleter } from '../../src/worker/job.completer.js';
import { JobRunner } from '../../src/worker/job.runner.js';
import type { RunEnd } from '../../src/worker/job.runner.js';
import { LeaseKeeper } from '../../src/jobs/leases/lease.keeper.js';
import type { Lease } from '../../src/jobs/leases/lease.keeper.js';
import type { Activity } from '../../src/worker/outage.watch.js';
import { OutageWatch } from '../../src/worker/outage.watch.js';
import { ProgressReporter } from '../../src/worker/progress.reporter.js';
import { Telemetry } from '../../src/worker/telemetry.js';
import { resolveWorkerOptions } from '../../src/worker/worker.options.js';
import type { RunLimit } from '../../src/worker/run.limit.js';
import { RetryJobError, UnrecoverableJobError } from '../../src/worker/worker.types.js';
import type { JobOutcome } from '../../src/worker/worker.types.js';
import type { Ending } from './zombies/schedule.js';

export const MAX_ATTEMPTS = 3;
/** This is longer than a schedule takes. Schedules end leases by SQL. */
export const LEASE_MS = 600_000;
export const RESULT = { resultUrl: 's3://frames/1.zip', frameCount: 3 };

/** A promise that its creator settles. */
class Gate<T> {
  resolve!: (value: T) => void;
  reject!: (error: Error) => void;
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });
}

/** A run of a job in a worker. Its handler does nothing until the schedule says so. */
export class Run {
  phase: 'working' | 'writing' | 'over' = 'working';
  readonly lease: Lease;
  readonly outcome: Promise<RunEnd>;
  readonly #handler = new Gate<JobOutcome>();
  readonly #commit = new Gate<void>();
  readonly #wrote = new Gate<void>();

  constructor(
    readonly worker: Worker,
    readonly job: VideoJob,
  ) {
    const [lease] = worker.keeper.add([job], performance.now());
    this.lease = lease!;
    worker.handlers.set(job, this.#handler.promise);
    this.outcome = worker.runner.run(this.lease);
  }

  /** Ends the handler with an outcome. */
  resolve(outcome: JobOutcome): Promise<RunEnd> {
    this.phase = 'over';
    this.#handler.resolve(outcome);
    return this.outcome;
  }

  /** Ends the handler. @returns when the outcome is recorded; with `write`, when its first write is done */
  async end(how: Ending): Promise<RunEnd | undefined> {
    this.phase = how === 'write' ? 'writing' : 'over';
    if (how === 'throw') this.#handler.reject(new Error('it does not work'));
    else if (how === 'unrecoverable') this.#handler.reject(new UnrecoverableJobError('never'));
    else if (how === 'notNow') this.#handler.reject(new RetryJobError({ inMs: 0 }));
    else if (how === 'result') this.#handler.resolve(RESULT);
    else {
      this.#handler.resolve(async (manager) => {
        const { jobId, runNumber } = this.job;
        await manager.query('INSERT INTO own_writes VALUES ($1, $2)', [jobId, runNumber]);
        this.#wrote.resolve();
        await this.#commit.promise;
        return RESULT;
      });
      // A run that was aborted before this never writes.
      return Promise.race([this.outcome, this.#wrote.promise.then(() => undefined)]);
    }
    return this.outcome;
  }

  commit(): Promise<RunEnd> {
    this.phase = 'over';
    this.#commit.resolve();
    return this.outcome;
  }

  /**
   * Reaches the time limit of the run. Its handler, or its own transaction, is still at work, and then succeeds
   * too late.
   */
  reachLimit(): Promise<RunEnd> {
    this.worker.limits.get(this.lease)?.['end']();
    this.phase = 'over';
    this.#handler.resolve(RESULT);
    this.#commit.resolve();
    return this.outcome;
  }

  /** Ends the handler and its transaction if they have not ended. */
  async finish(): Promise<void> {
    if (this.phase === 'working') await this.end('result');
    if (this.phase === 'writing') await this.commit();
  }

  /** Does what a worker does when its time for the shutdown is over. */
  async release(): Promise<void> {
    this.lease.released = true;
    this.lease.abort.abort(new Error('The process shuts down.'));
    await this.worker.runner.release([this.lease]);
  }
}

/** The parts of a worker that hold leases and record outcomes, as FrameForgeWorker puts them together. */
export class Worker {
  readonly jobs: JobService;
  readonly db: SqlRunner;
  readonly keeper: LeaseKeeper;
  readonly runner: JobRunner;
  readonly handlers = new Map<VideoJob, Promise<JobOutcome>>();
  /** Time limits that end only when the schedule says so. */
  readonly limits = new Map<Lease, RunLimit>();
  readonly outage: OutageWatch;
  readonly recording: Activity;

  constructor({ dataSource, replyTimeoutMs }: { dataSource: DataSource; replyTimeoutMs?: number }) {
    const logger = new Logger();
    const outage = new OutageWatch(logger);
    const recording = outage.activity('Recording');
    this.outage = outage;
    this.recording = recording;
    const options = { maxAttempts: MAX_ATTEMPTS, backoff: { baseMs: 0, maxMs: 0 } };
    this.jobs = new JobService(dataSource, replyTimeoutMs === undefined ? {} : { replyTimeoutMs });
    const bounds = { replyTimeoutMs, boundsJoined: true };
    this.db = new SqlRunner(dataSource, preparedByDefault(), bounds);
    this.keeper = new LeaseKeeper(this.db, LEASE_MS, outage.activity('Extending'), () => {});
    this.runner = new JobRunner(
      { process: (job) => this.handlers.get(job) ?? Promise.reject(new Error('no handler')) },
      this.db,
      this.db,
      this.keeper,
      new ProgressReporter(this.db, this.keeper, outage.activity('Reporting progress')),
      new JobCompleter(this.jobs, this.jobs.workerId, this.db, recording),
      recording,
      {
        ...resolveWorkerOptions({ ...options, maxRunMs: LEASE_MS }),
        urlSchemes: this.jobs.urlSchemes,
      },
      new Telemetry(),
      logger,
    );
    const limitOf = this.runner['limitOf'].bind(this.runner);
    this.runner['limitOf'] = (lease, onHandled) => {
      const limit = limitOf(lease, onHandled);
      this.limits.set(lease, limit);
      return limit;
    };
  }

  /** Extends the leases, as its timer would. */
  heartbeat(): Promise<void> {
    return this.keeper['extend']();
  }
}
