import { ForbiddenException, Logger } from '@nestjs/common';
import { FrameForgeError, InvalidInputError } from '../errors.js';
import { uuid } from '../input/rules.js';
import type { CancelJobsFilter } from '../jobs/bulk/bulk.inputs.js';
import type { JobService } from '../jobs/job.service.js';
import type { BulkOutcome } from '../sql/in.batches.js';
import type { NotificationService } from '../notifications/notification.service.js';

/** How many rows one request changes. */
export const MAX_AT_ONCE = 100;
/** How many rows are counted at the most, before a question: one more than is told exactly. */
const MAX_COUNTED = 10_001;

/** What an action does to a job or to a notification. */
export type ActionName = 'retry' | 'cancel' | 'redeliver';

/** What became of an action on one row. */
export interface ActionResult {
  readonly id: string;
  /** Why it was refused; null when it was done. */
  readonly refusal: string | null;
}

const DONE: Record<ActionName, string> = {
  retry: 'retried job',
  cancel: 'cancelled job',
  redeliver: 'delivers again notification',
};

/** Which rows are meant where all that match are: what a list is filtered by. */
export interface Matching {
  readonly userId?: string;
  readonly status?: string;
  readonly createdFrom?: Date;
  readonly createdBefore: Date;
  /** When the list was shown. */
  readonly shownAt: Date;
  /** How many were counted, and not more are changed. */
  readonly limit?: number;
}

const ALL: Record<ActionName, string> = {
  retry: 'retried the failed jobs',
  cancel: 'cancelled the jobs',
  redeliver: 'delivers again the failed notifications',
};

/** Changes jobs and notifications by their services alone, and logs who did. */
export class ConsoleActions {
  private readonly logger = new Logger('FrameForgeConsole');
  private readonly calls: Readonly<Record<ActionName, (id: string) => Promise<unknown>>>;

  constructor(
    private readonly jobs: JobService,
    private readonly notifications: NotificationService,
    private readonly enabled: boolean,
  ) {
    this.calls = {
      retry: (id) => jobs.retryJob(id),
      cancel: (id) => jobs.cancelJob(id),
      redeliver: (id) => notifications.redeliver(id),
    };
  }

  /**
   * Changes all rows that match, or only counts them. The services read the filter anew: what has changed since
   * is left alone.
   */
  async actOnAll(
    action: ActionName,
    { status, shownAt, limit, ...filter }: Matching,
    dryRun: boolean,
    actor: string,
  ): Promise<BulkOutcome> {
    this.requireEnabled();
    if (action !== 'cancel' && status !== undefined && status !== 'failed') {
      throw new InvalidInputError('matching', [{ property: 'status', message: 'must be failed' }]);
    }
    const most = dryRun ? MAX_COUNTED : limit;
    const all = { ...filter, dryRun, ...(most !== undefined && { limit: most }) };
    const change = {
      // A job that was created before and failed since was not on the list.
      retry: () => this.jobs.retryJobs({ ...all, endedBefore: shownAt }),
      cancel: () =>
        this.jobs.cancelJobs((status === undefined ? all : { ...all, status }) as CancelJobsFilter),
      redeliver: () => this.notifications.redeliverNotifications(all),
    }[action];
    if (dryRun) return change();
    const which = JSON.stringify({ status, ...filter });
    const line = `${JSON.stringify(actor)} ${ALL[action]} that match ${which}`;
    try {
      const outcome = await change();
      this.logger.log(`${line}: ${outcome.changed} of ${outcome.matched}`);
      return outcome;
    } catch (error) {
      // Some may be changed by then.
      this.logger.log(`${line}: interrupted: ${JSON.stringify(messageOf(error))}`);
      throw error;
    }
  }

  /** @throws ForbiddenException unless actions are enabled */
  private requireEnabled(): void {
    if (this.enabled) return;
    throw new ForbiddenException(
      'Actions are off: FrameForgeConsoleModule has no `actions: true`.',
    );
  }

  /** What may be done. */
  get names(): readonly string[] {
    return this.enabled ? Object.keys(this.calls) : [];
  }

  /**
   * @param actor - who does it
   * @throws ForbiddenException unless actions are enabled
   */
  async act(action: ActionName, ids: readonly string[], actor: string): Promise<ActionResult[]> {
    this.requireEnabled();
    const results: ActionResult[] = [];
    for (const id of ids) {
      const refusal = await refusalOf(() => this.calls[action](id));
      results.push({ id, refusal });
      // What an operator is called may be what somebody has typed: it stays within its line.
      const who = JSON.stringify(actor);
      const what = `${DONE[action]} ${uuid.accepts(id) ? id : JSON.stringify(id)}`;
      this.logger.log(
        refusal === null ? `${who} ${what}` : `${who} was refused: ${what}: ${inLine(refusal)}`,
      );
    }
    return results;
  }
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** A text without what would start a line of its own. */
const inLine = (text: string): string => text.replace(/[\p{Cc}\u2028\u2029]/gu, ' ');

/** @throws what is no refusal, such as a database that is away */
async function refusalOf(call: () => Promise<unknown>): Promise<string | null> {
  try {
    await call();
    return null;
  } catch (error) {
    if (error instanceof FrameForgeError && REFUSALS.has(error.code)) return error.message;
    throw error;
  }
}

const REFUSALS: ReadonlySet<string> = new Set([
  'INVALID_INPUT',
  'JOB_NOT_FOUND',
  'NOTIFICATION_NOT_FOUND',
  'INVALID_JOB_TRANSITION',
  'LEASE_LOST',
]);
