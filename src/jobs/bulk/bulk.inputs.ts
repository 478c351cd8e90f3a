import { CheckedBy } from '../../input/input.js';
import { flag, instant, integer, oneOf, text, uuid } from '../../input/rules.js';
import { DateFromText, NumberFromText } from '../../input/transforms.js';

/**
 * Which jobs to change. Every key narrows the filter. A key that is present but undefined is refused: without
 * it, more jobs than the caller means would be changed.
 */
class JobsFilter {
  /** Only this user's jobs. */
  @CheckedBy(uuid, 'omittable') userId?: string;
  /** Only jobs that were created at this time or later. */
  @CheckedBy(instant, 'omittable') @DateFromText() createdFrom?: Date;
  /** Only jobs that were created before this time. */
  @CheckedBy(instant, 'omittable') @DateFromText() createdBefore?: Date;
  /** Only jobs whose `errorMessage` contains this text, in upper or lower case. */
  @CheckedBy(text(1_000), 'omittable') errorText?: string;
  /** How many jobs at the most, the oldest first; all if left out. */
  @CheckedBy(integer(1), 'omittable') @NumberFromText() limit?: number;
  /** Only counts what it would change. Default false. */
  @CheckedBy(flag, 'omittable') dryRun?: boolean;
}

/** Which failed jobs to retry. Cancelled jobs are left out: `retryJob` can retry one of them. */
export class RetryJobsFilter extends JobsFilter {
  /** It can only be `failed`. */
  @CheckedBy(oneOf(['failed']), 'omittable') status?: 'failed';
  /** Only jobs that failed at this time or later. */
  @CheckedBy(instant, 'omittable') @DateFromText() endedFrom?: Date;
  /** Only jobs that failed before this time. */
  @CheckedBy(instant, 'omittable') @DateFromText() endedBefore?: Date;
}

/** Which jobs to cancel, and why. */
export class CancelJobsFilter extends JobsFilter {
  /** Only jobs of this status; pending and processing jobs if left out. */
  @CheckedBy(oneOf(['pending', 'processing']), 'omittable') status?: 'pending' | 'processing';
  /** 1 to 1,000 characters, for the jobs' users. */
  @CheckedBy(text(1_000), 'omittable') reason?: string;
}
