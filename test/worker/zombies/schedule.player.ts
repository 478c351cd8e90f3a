import { Logger } from '@nestjs/common';
import { preparedByDefault } from '../../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../../src/sql/sql.runner.js';
import { LeaseLostError } from '../../../src/errors.js';
import { claimAny } from '../../../src/jobs/job.claiming.js';
import type { JobStatus } from '../../../src/schema/entities/index.js';
import type { RunEnd } from '../../../src/worker/job.runner.js';
import type { Harness } from '../../support/harness.js';
import { openHarness } from '../../support/harness.js';
import type { Call, Ending, Schedule, Step } from './schedule.js';
import { LEASE_MS, MAX_ATTEMPTS, RESULT, Run, Worker } from '../controlled.worker.js';

/** The state that a job must have by the rules. */
interface ModelJob {
  readonly jobId: string;
  status: JobStatus;
  run: number;
  attempts: number;
  lapsed: boolean;
  /** The only run that may write. */
  holder: Run | undefined;
  readonly notifications: string[];
  readonly ownWrites: number[];
}

/** How many calls of each kind a player has made. */
export interface Tally {
  schedules: number;
  claims: number;
  /** Claims of jobs that another run held. */
  steals: number;
  /** Writes of runs that no longer held their job. */
  lateWrites: number;
  writes: number;
  /** Runs that reached their time limit. */
  limits: number;
  cancellations: number;
}

/** A database on which schedules are played, one after the other. */
export class SchedulePlayer {
  readonly tally: Tally = {
    schedules: 0,
    claims: 0,
    steals: 0,
    lateWrites: 0,
    writes: 0,
    limits: 0,
    cancellations: 0,
  };
  private jobs: ModelJob[] = [];
  private runs: Run[] = [];
  private workers: Worker[] = [];

  private constructor(
    private readonly h: Harness,
    private readonly userId: string,
    private readonly db: SqlRunner,
  ) {}

  static async open(): Promise<SchedulePlayer> {
    Logger.overrideLogger(false);
    const h = await openHarness({ poolSize: 20 });
    await h.dataSource.query(
      'CREATE TABLE own_writes ("jobId" uuid, "runNumber" integer, PRIMARY KEY ("jobId", "runNumber"))',
    );
    return new SchedulePlayer(
      h,
      (await h.user()).userId,
      new SqlRunner(h.dataSource, preparedByDefault()),
    );
  }

  close(): Promise<void> {
    return this.h.close();
  }

  /** Plays a schedule, and compares the database with the rules after each step. */
  async play({ jobs, steps }: Schedule): Promise<void> {
    await this.h.dataSource.query('DELETE FROM video_jobs');
    const input = { userId: this.userId, filename: 'a.mp4', videoUrl: 's3://videos/a.mp4' };
    const created = await this.h.jobs.createJobs(Array.from({ length: jobs }, () => input));
    this.jobs = created.map(({ jobId }) => ({
      jobId,
      status: 'pending',
      run: 0,
      attempts: 0,
      lapsed: false,
      holder: undefined,
      notifications: [],
      ownWrites: [],
    }));
    this.runs = [];
    this.workers = [new Worker(this.h), new Worker(this.h)];
    try {
      for (const step of steps) {
        await this.take(step);
        await this.compare();
      }
      // All runs that have not ended end now. Most of them are late.
      for (const run of this.runs) {
        if (run.phase === 'working') await this.end(run, 'result');
        if (run.phase === 'writing') await this.commit(run);
      }
      await this.compare();
    } finally {
      await Promise.all(this.runs.map((run) => run.finish()));
    }
    this.tally.schedules += 1;
  }

  private async take(step: Step): Promise<void> {
    switch (step.do) {
      case 'claim':
        return this.claim(this.worker(step.worker), step.limit);
      case 'heartbeat':
        return this.heartbeat(this.worker(step.worker));
      case 'endAll':
        return this.endAll(this.worker(step.worker), step.how);
      case 'lapse':
      case 'steal':
      case 'cancel':
      case 'retryJob': {
        const job = this.jobs[step.job % this.jobs.length] ?? fail('no such job');
        if (step.do === 'retryJob') return this.retryJob(job);
        if (step.do === 'cancel') return this.cancel(job);
        await this.lapse(job);
        if (step.do === 'steal') await this.claim(this.worker(step.worker), this.jobs.length);
        return;
      }
      default: {
        const run = this.runs.at(-1 - step.run);
        if (run === undefined) return;
        if (step.do === 'end' && run.phase === 'working') return this.end(run, step.how);
        if (step.do === 'commit' && run.phase === 'writing') return this.commit(run);
        if (step.do === 'limit' && run.phase !== 'over') return this.reachLimit(run);
        if (step.do === 'release' && run.phase !== 'over') return this.release(run);
        if (step.do === 'call') return this.call(run, step.call);
      }
    }
  }

  private worker(index: number): Worker {
    return this.workers[index] ?? fail('no such worker');
  }

  private jobOf(run: Run): ModelJob {
    return this.jobs.find(({ jobId }) => jobId === run.job.jobId) ?? fail('no such job');
  }

  private async claim(worker: Worker, limit: number): Promise<void> {
    const due = this.jobs.filter(
      ({ status, lapsed }) => status === 'pending' || (status === 'processing' && lapsed),
    );
    const { workerId } = worker.jobs;
    const claim = { limit, leaseMs: LEASE_MS, maxAttempts: MAX_ATTEMPTS, workerId };
    const claimed = await claimAny(this.db, claim);
    const spent = due.filter(({ attempts }) => attempts >= MAX_ATTEMPTS);
    const claimable = Math.min(limit, due.length - spent.length);
    equal(claimed.length, claimable, 'jobs claimed by a claim');
    for (const taken of claimed) {
      const job = due.find(({ jobId }) => jobId === taken.jobId) ?? fail('claimed what is held');
      equal(spent.includes(job), false, 'a job without a try left is claimed');
      this.tally.claims += 1;
      if (job.holder !== undefined) this.tally.steals += 1;
      const run = new Run(worker, taken);
      this.runs.push(run);
      Object.assign(job, { status: 'processing', lapsed: false, holder: run });
      job.run += 1;
      job.attempts += 1;
    }
    const rows = await this.h.jobs.listJobs({ status: 'failed' } as never);
    const failed = new Set(rows.jobs.map(({ jobId }) => jobId));
    const ended = spent.filter(({ jobId }) => failed.has(jobId));
    // If the claim was full, it depends on the order how many jobs without a try left it has found.
    if (claimed.length < limit) equal(ended.length, spent.length, 'jobs failed by a claim');
    for (const job of ended) this.settle(job, 'failed');
  }

  /**
   * Extends the leases of a worker. A lease that is over and not taken is extended. A run whose lease was taken
   * ends.
   */
  private async heartbeat(worker: Worker): Promise<void> {
    await worker.heartbeat();
    const working = this.runs.filter((run) => run.worker === worker && run.phase !== 'over');
    for (const run of working) {
      const job = this.jobOf(run);
      const holds = job.holder === run;
      if (holds) job.lapsed = false;
      equal(run.lease.abort.signal.aborted, !holds, 'the signal of a run after a heartbeat');
    }
  }

  private async lapse(job: ModelJob): Promise<void> {
    await this.h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = now() - interval '1 s'
       WHERE "jobId" = $1 AND status = 'processing'`,
      [job.jobId],
    );
    if (job.status === 'processing') job.lapsed = true;
  }

  private async retryJob(job: ModelJob): Promise<void> {
    if (job.status !== 'failed') return;
    await this.h.jobs.retryJob(job.jobId);
    Object.assign(job, { status: 'pending', attempts: 0 });
  }

  private async cancel(job: ModelJob): Promise<void> {
    if (job.status !== 'pending' && job.status !== 'processing') return;
    await this.h.jobs.cancelJob(job.jobId);
    this.tally.cancellations += 1;
    job.run += 1;
    this.settle(job, 'failed');
  }

  private async end(run: Run, how: Ending): Promise<void> {
    this.ended(run, how, await run.end(how));
  }

  private async commit(run: Run): Promise<void> {
    this.ended(run, 'write', await run.commit());
  }

  private async reachLimit(run: Run): Promise<void> {
    const outcome = await run.reachLimit();
    this.tally.limits += 1;
    this.ended(run, 'throw', outcome);
  }

  private async endAll(worker: Worker, how: Ending): Promise<void> {
    const working = this.runs.filter((run) => run.worker === worker && run.phase === 'working');
    const outcomes = await Promise.all(working.map((run) => run.end(how)));
    working.forEach((run, index) => this.ended(run, how, outcomes[index]));
  }

  /** @param outcome - undefined while a run is in the middle of its own writes */
  private ended(run: Run, how: Ending, outcome: RunEnd | undefined): void {
    if (outcome === undefined) return;
    run.phase = 'over';
    const job = this.jobOf(run);
    const next = this.next(job, how);
    // This outcome of the run is already recorded. The worker takes this for a lost reply and writes nothing.
    const own = job.status === next || job.status === 'completed';
    const repeated = job.holder !== run && job.run === run.job.runNumber && own;
    if (repeated) return;
    const accepted = this.judge(run, !['lost', 'released', 'cancelled'].includes(outcome));
    if (!accepted) return;
    equal(outcome, next === 'pending' ? 'retried' : next, 'the outcome of a run');
    this.settle(job, next);
    if (how === 'notNow') job.attempts -= 1;
    if (how === 'write') job.ownWrites.push(run.job.runNumber);
  }

  private next(job: ModelJob, how: Ending): 'completed' | 'failed' | 'pending' {
    if (how === 'result' || how === 'write') return 'completed';
    if (how === 'notNow') return 'pending';
    return how === 'unrecoverable' || job.attempts >= MAX_ATTEMPTS ? 'failed' : 'pending';
  }

  private async release(run: Run): Promise<void> {
    const job = this.jobOf(run);
    await run.release();
    if (job.holder !== run) return void this.judge(run, false);
    this.settle(job, 'pending');
    job.attempts -= 1;
  }

  private async call(run: Run, call: Call): Promise<void> {
    const job = this.jobOf(run);
    const { jobs } = run.worker;
    const failure = { errorMessage: 'late' };
    const calls: Record<Call, () => Promise<unknown>> = {
      complete: () => jobs.completeJob(run.job, RESULT),
      fail: () => jobs.failJob(run.job, failure),
      retryLater: () => jobs.failJob(run.job, { ...failure, retryInMs: 0 }),
      release: () => jobs.releaseJob(run.job),
      extend: async () => {
        const held = await jobs.extendLeases([run.job], { leaseMs: LEASE_MS });
        if (held.length === 0) throw new LeaseLostError({ ...run.job });
      },
      progress: async () => {
        const held = await jobs.reportProgress([{ job: run.job, percent: 7 }]);
        if (held.length === 0) throw new LeaseLostError({ ...run.job });
      },
    };
    const error = await calls[call]().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error !== undefined && !(error instanceof LeaseLostError)) throw error;
    if (!this.judge(run, error === undefined)) return;
    if (call === 'progress') return;
    if (call === 'extend') job.lapsed = false;
    else if (call === 'complete') this.settle(job, 'completed');
    else if (call === 'fail') this.settle(job, 'failed');
    else this.settle(job, 'pending');
    if (call === 'release') job.attempts -= 1;
  }

  /** Applies the rule that a write is accepted if, and only if, its run holds the job. */
  private judge(run: Run, accepted: boolean): boolean {
    const holds = this.jobOf(run).holder === run;
    this.tally.writes += 1;
    if (!holds) this.tally.lateWrites += 1;
    equal(accepted, holds, `a ${holds ? 'timely' : 'late'} write of run ${run.job.runNumber}`);
    return accepted;
  }

  private settle(job: ModelJob, next: 'completed' | 'failed' | 'pending'): void {
    Object.assign(job, { status: next, holder: undefined, lapsed: false });
    if (next !== 'pending') {
      job.notifications.push(`${job.run} ${next === 'completed' ? 'success' : 'failure'}`);
    }
  }

  /** Checks that the database contains what the rules require, and nothing else. */
  private async compare(): Promise<void> {
    const rows = await this.h.dataSource.query<Record<string, unknown>[]>(
      `SELECT j."jobId", j.status, j."runNumber" AS run, j.attempts, j."workerId",
         ARRAY(SELECT n."runNumber" || ' ' || n."notificationType" FROM notification_log n
           WHERE n."jobId" = j."jobId" ORDER BY n."runNumber") AS notifications,
         ARRAY(SELECT o."runNumber" FROM own_writes o
           WHERE o."jobId" = j."jobId" ORDER BY o."runNumber") AS "ownWrites"
       FROM video_jobs j`,
    );
    for (const { jobId, status, run, attempts, holder, notifications, ownWrites } of this.jobs) {
      const row = rows.find((candidate) => candidate['jobId'] === jobId);
      const workerId = holder?.worker.jobs.workerId ?? null;
      const rule = { jobId, status, run, attempts, workerId, notifications, ownWrites };
      equal(JSON.stringify(row), JSON.stringify(rule), 'a job in the database');
    }
  }
}

function equal(actual: unknown, rule: unknown, what: string): void {
  if (actual !== rule) fail(`${what}: ${String(actual)}, by the rules ${String(rule)}`);
}

function fail(message: string): never {
  throw new Error(message);
}
