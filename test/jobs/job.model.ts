import type { JobHandle } from '../../src/jobs/job.inputs.js';

export type Status = 'pending' | 'processing' | 'completed' | 'failed';
export type Told = 'success' | 'failure';

/** The part of a notification that the model knows. `run` is null in a row of an older service. */
export interface Report {
  readonly told: Told;
  readonly run: number | null;
  readonly email: string;
}

/** A job in the model: the expected row, and the handles that callers may still have. */
export interface ModelJob {
  readonly jobId: string;
  status: Status;
  run: number;
  worker: string | null;
  attempts: number;
  /** Whether `availableAt` has passed. */
  due: boolean;
  resultUrl: string | null;
  frameCount: number | null;
  errorMessage: string | null;
  cancelled: boolean;
  progress: number | null;
  progressMessage: string | null;
  reports: Report[];
  /** The runs that have a row in `job_attempt_errors`. */
  errors: Set<number>;
  /** Every handle that was ever given out, newest first. */
  handles: JobHandle[];
}

/** The expected result of a move: done, or the refusal with its values. */
export type Verdict =
  | 'done'
  | {
      readonly code: 'LEASE_LOST' | 'INVALID_JOB_TRANSITION';
      readonly status: Status;
      readonly runNumber: number;
    };

export function newJob(jobId: string, due: boolean): ModelJob {
  return {
    jobId,
    status: 'pending',
    run: 0,
    worker: null,
    attempts: 0,
    due,
    resultUrl: null,
    frameCount: null,
    errorMessage: null,
    cancelled: false,
    progress: null,
    progressMessage: null,
    reports: [],
    errors: new Set(),
    handles: [],
  };
}

const refused = (
  code: 'LEASE_LOST' | 'INVALID_JOB_TRANSITION',
  { status, run }: ModelJob,
): Verdict => ({ code, status, runNumber: run });

const isReported = (job: ModelJob): boolean => job.reports.some(({ run }) => run === job.run);

export const isLeased = (job: ModelJob): boolean =>
  job.status === 'processing' && job.worker !== null;

export const isClaimable = (job: ModelJob): boolean =>
  job.due && (job.status === 'pending' || isLeased(job));

export const isExhausted = (job: ModelJob, maxAttempts: number): boolean =>
  job.attempts >= maxAttempts;

function begin(job: ModelJob, worker: string | null): void {
  if (isLeased(job)) job.errors.add(job.run);
  job.status = 'processing';
  job.run += 1;
  job.worker = worker;
  job.progress = 0;
  job.progressMessage = null;
  job.due = worker === null;
  job.handles.unshift({ jobId: job.jobId, runNumber: job.run, workerId: worker });
}

export function claim(job: ModelJob, worker: string): void {
  job.attempts += 1;
  begin(job, worker);
}

/** A claim that finds a job without a try left. */
export function exhaust(job: ModelJob, email: string): void {
  const tried = `Gave up after attempt ${job.attempts}`;
  job.errorMessage = isLeased(job)
    ? `${tried}: its worker was lost.`
    : (job.errorMessage ?? `${tried}.`);
  if (isLeased(job)) job.errors.add(job.run);
  job.status = 'failed';
  job.worker = null;
  if (!isReported(job)) job.reports.push({ told: 'failure', run: job.run, email });
}

export function start(job: ModelJob, worker: string | null): Verdict {
  if (job.status !== 'pending' && !(isLeased(job) && job.due)) {
    return refused('INVALID_JOB_TRANSITION', job);
  }
  job.attempts += 1;
  begin(job, worker);
  return 'done';
}

const isLost = (job: ModelJob, { runNumber, workerId }: JobHandle): boolean =>
  job.run !== runNumber || job.worker !== workerId;

/** Whether `extendLeases` must return the job as held. */
export function extend(job: ModelJob, handle: JobHandle): boolean {
  if (isLost(job, handle) || !isLeased(job)) return false;
  job.due = false;
  return true;
}

export type Outcome =
  | { readonly to: 'completed'; readonly resultUrl: string; readonly frameCount: number }
  | { readonly to: 'failed'; readonly errorMessage: string }
  | { readonly to: 'retried'; readonly errorMessage: string; readonly due: boolean }
  | { readonly to: 'released' };

export function settle(job: ModelJob, handle: JobHandle, outcome: Outcome, email: string): Verdict {
  if (isLost(job, handle)) return refused('LEASE_LOST', job);
  if (job.status !== 'processing') return refused('INVALID_JOB_TRANSITION', job);
  if ('errorMessage' in outcome) job.errorMessage = outcome.errorMessage;
  job.resultUrl = null;
  job.frameCount = null;
  if (outcome.to === 'completed' || outcome.to === 'failed') {
    // A service that does not know run numbers has started the job again, so it still has the earlier number.
    if (job.worker === null && isReported(job)) job.run += 1;
    job.status = outcome.to;
    job.reports.push({ told: tells(outcome.to), run: job.run, email });
    if (outcome.to === 'completed') {
      job.errorMessage = null;
      job.progress = 100;
      job.resultUrl = outcome.resultUrl;
      job.frameCount = outcome.frameCount;
    }
  } else {
    job.status = 'pending';
    job.due = outcome.to === 'released' || outcome.due;
    if (outcome.to === 'released') job.attempts = Math.max(job.attempts - 1, 0);
  }
  if ('errorMessage' in outcome) job.errors.add(job.run);
  job.worker = null;
  return 'done';
}

export function retry(job: ModelJob): Verdict {
  if (job.status !== 'failed') return refused('INVALID_JOB_TRANSITION', job);
  Object.assign(job, { status: 'pending', worker: null, attempts: 0, due: true });
  job.errorMessage = null;
  job.cancelled = false;
  return 'done';
}

export function cancel(job: ModelJob, email: string): Verdict {
  if (job.cancelled) return 'done';
  if (job.status === 'completed' || job.status === 'failed') {
    return refused('INVALID_JOB_TRANSITION', job);
  }
  Object.assign(job, { status: 'failed', worker: null, cancelled: true, run: job.run + 1 });
  job.errorMessage = 'The job was cancelled.';
  job.reports.push({ told: 'failure', run: job.run, email });
  return 'done';
}

/** Whether `reportProgress` must return the job as held. */
export function report(
  job: ModelJob,
  handle: JobHandle,
  progress: number,
  progressMessage: string | null,
): boolean {
  if (isLost(job, handle) || job.status !== 'processing') return false;
  Object.assign(job, { progress, progressMessage });
  return true;
}

export const tells = (status: 'completed' | 'failed'): Told =>
  status === 'completed' ? 'success' : 'failure';

/** `logNotification`: once for each run, and only with the type that fits its end. */
export function log(job: ModelJob, told: Told, email: string): Verdict {
  if (job.status !== (told === 'success' ? 'completed' : 'failed')) {
    return refused('INVALID_JOB_TRANSITION', job);
  }
  const ofRun = job.reports.find(({ run }) => run === job.run);
  if (ofRun?.told === told) return 'done';
  // The existing row is about the earlier run. A service that does not know run numbers has run the job since.
  if (ofRun !== undefined) job.run += 1;
  job.reports.push({ told, run: job.run, email });
  return 'done';
}
