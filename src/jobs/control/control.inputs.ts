import { CheckedBy } from '../../input/input.js';
import { text, uuid } from '../../input/rules.js';
import type { Rule } from '../../input/rules.js';
import type { JobHandle } from '../job.inputs.js';

const reason = text(1_000);

const percent: Rule = {
  name: 'percent',
  message: 'must be a number from 0 to 100',
  openApi: { type: () => Number, minimum: 0, maximum: 100 },
  accepts: (value) => typeof value === 'number' && value >= 0 && value <= 100,
};

/** A message about progress has at most this many characters. */
export const MAX_MESSAGE = 255;

/** The user and the reason of a cancellation. */
export class CancelJobInput {
  /** Only this user's job; any other is "not found". Leave the key out to mean every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
  /** 1 to 1,000 characters, for the job's user. */
  @CheckedBy(reason, 'optional') reason?: string;
}

/** Why processing is paused. */
export class PauseProcessingInput {
  /** 1 to 1,000 characters, for other operators. */
  @CheckedBy(reason, 'optional') reason?: string;
}

/** How far a run has come. */
export class JobProgress {
  /** 0 to 100; decimals are dropped. */
  @CheckedBy(percent) percent!: number;
  /** 1 to 255 characters. If left out, the job has no message. */
  @CheckedBy(text(MAX_MESSAGE), 'optional') message?: string | null;
}

/** The progress of one run, for `reportProgress`. */
export interface ProgressReport extends JobProgress {
  /** The run. */
  readonly job: JobHandle;
}

/** The user of a watched job. */
export class WatchJobInput {
  /** Only this user's job; any other is "not found". Leave the key out to mean every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
}

/** The user whose jobs are watched. */
export class WatchJobsInput {
  /** The user. */
  @CheckedBy(uuid) userId!: string;
}
