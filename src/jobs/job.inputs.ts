import { ReadOptions, TransactionOptions } from '../sql/transaction.options.js';
import { cursor } from '../input/cursor.js';
import { MAX_BATCH, MAX_LIMIT } from '../input/defaults.js';
import { CheckedBy } from '../input/input.js';
import { jsonObject } from '../input/json.js';
import { flag, instant, integer, oneOf, text, url, uuid } from '../input/rules.js';
import { DateFromText, NumberFromText } from '../input/transforms.js';
import { JobStatus } from '../schema/entities/index.js';

const errorText = text(100_000);

/** A job to create. */
export class CreateJobInput {
  /** The user whose video it is. */
  @CheckedBy(uuid) userId!: string;
  /** 1 to 255 characters. */
  @CheckedBy(text(255)) filename!: string;
  /** Where the video is: a URL with a scheme. */
  @CheckedBy(url) videoUrl!: string;
  /** The caller's own id of the job, which makes a repeated call return the same job. */
  @CheckedBy(uuid, 'optional') jobId?: string;
  /** The earliest time at which the job may be claimed; now if left out or past. */
  @CheckedBy(instant, 'optional') @DateFromText() availableAt?: Date;
  /**
   * What the handler should do, in the application's own form: an object of JSON values of at most 64 KB. If
   * the option `jobParameters` names a class, its rules are checked.
   */
  @CheckedBy(jsonObject, 'optional') parameters?: object | null;
}

/** The user and the transaction of a call that reads a job. */
export class GetJobOptions extends ReadOptions {
  /** Only this user's job; any other is "not found". Leave the key out to see every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
}

/** The user and the transaction of a call about a job. */
export class OwnedJobOptions extends TransactionOptions {
  /** Only this user's job; any other is "not found". Leave the key out to mean every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
}

/** Which jobs to list, newest first. */
export class ListJobsInput {
  /** Only this user's jobs. Leave the key out to list every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
  /** Only the jobs of this status; of every status if left out. */
  @CheckedBy(oneOf(Object.values(JobStatus)), 'optional') status?: JobStatus;
  /** 1 to 1,000; 50 if left out. */
  @CheckedBy(integer(1, MAX_LIMIT), 'optional') @NumberFromText() limit?: number;
  /** The `nextCursor` of the page before. */
  @CheckedBy(cursor, 'optional') cursor?: string | null;
}

/** Whose jobs to count. */
export class CountJobsInput {
  /** Only this user's jobs. Leave the key out to count every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
}

/** The lease of a job that `startJob` starts. */
export class StartJobInput {
  /** The lease in milliseconds. Without this and without a `workerId`, the job has no lease. */
  @CheckedBy(integer(1), 'optional') leaseMs?: number;
  /** Who holds the lease, unique to one process incarnation. */
  @CheckedBy(text(255), 'optional') workerId?: string;
}

/** The order in which pending jobs are claimed: by how long they have waited (`'age'`), or one user after the other (`'fair'`). */
export type ClaimOrder = 'age' | 'fair';

/** How many jobs to claim, and for how long. */
export class ClaimJobsInput {
  /** 1 to 1,000; 50 if left out. */
  @CheckedBy(integer(1, MAX_LIMIT), 'optional') limit?: number;
  /** The lease in milliseconds; 30,000 if left out. */
  @CheckedBy(integer(1), 'optional') leaseMs?: number;
  /** Who holds the lease, unique to one process incarnation; the `workerId` of the service if left out. */
  @CheckedBy(text(255), 'optional') workerId?: string;
  /** A job that was tried this often fails instead of being claimed; 5 if left out. */
  @CheckedBy(integer(1), 'optional') maxAttempts?: number;
  /**
   * `'age'`: the pending job that has waited longest comes first. `'fair'`: the oldest job of one user after
   * the other. `'age'` if left out, or `'fair'` with `maxRunningPerUser`.
   */
  @CheckedBy(oneOf(['age', 'fair']), 'optional') order?: ClaimOrder;
  /** How many jobs of one user may be processing at once. No limit if left out. */
  @CheckedBy(integer(1), 'optional') maxRunningPerUser?: number;
}

/** For how long to extend leases. */
export class ExtendLeasesInput {
  /** The new length of the leases in milliseconds, from now. */
  @CheckedBy(integer(1)) leaseMs!: number;
}

const workerIdOrNull = text(255);

/**
 * Names a run of a job, and proves that the caller holds it. A `VideoJob` is a `JobHandle`. No method
 * finishes a job by its id alone.
 */
export class JobHandle {
  /** The job. */
  @CheckedBy(uuid) jobId!: string;
  /** The run that the caller holds: the fencing token. */
  @CheckedBy(integer(0)) runNumber!: number;
  /** Null for a job that was started without a lease. */
  @CheckedBy({
    name: 'workerId',
    message: `${workerIdOrNull.message}, or null for a job that was started without a lease`,
    openApi: { ...workerIdOrNull.openApi, nullable: true },
    accepts: (value) => value === null || workerIdOrNull.accepts(value),
  })
  workerId!: string | null;
}

/** The result of a completed job. */
export class JobResult {
  /** Where the extracted frames are: a URL with a scheme. */
  @CheckedBy(url) resultUrl!: string;
  /** How many frames were extracted; 0 or more. */
  @CheckedBy(integer(0)) frameCount!: number;
  /** Further results, in the application's own form: an object of JSON values of at most 64 KB. */
  @CheckedBy(jsonObject, 'optional') output?: object | null;
}

/** Why a job failed. */
export class JobFailure {
  /** The text that the job's user reads: 1 to 100,000 characters. */
  @CheckedBy(errorText) errorMessage!: string;
  /** Try again after this many milliseconds; the job fails for good if left out. */
  @CheckedBy(integer(0), 'optional') retryInMs?: number;
}

/** One of the jobs that `completeJobs` completes. */
export interface JobCompletion {
  /** The run to complete. */
  readonly job: JobHandle;
  /** Its result. */
  readonly result: JobResult;
}

/** Which jobs to remove. */
export class PruneJobsInput {
  /** Removes completed and failed jobs that ended before this time. */
  @CheckedBy(instant) @DateFromText() olderThan!: Date;
  /** How many rows one statement removes; 1 to 10,000; 1,000 if left out. */
  @CheckedBy(integer(1, MAX_BATCH), 'optional') batchSize?: number;
  /** Only jobs of this status; completed and failed jobs if left out. */
  @CheckedBy(oneOf(['completed', 'failed']), 'omittable') status?: 'completed' | 'failed';
  /** Only counts what it would remove. Default false. */
  @CheckedBy(flag, 'omittable') dryRun?: boolean;
}
