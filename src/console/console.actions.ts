import { ForbiddenException, Logger } from '@nestjs/common';
import { FrameForgeError, InvalidInputError } from '../errors.js';
import { uuid } from '../input/rules.js';
import type { CancelJobsFilter } from '../jobs/bulk/bulk.inputs.js';
import type { JobService } from '../jobs/job.service.js';
import type { BulkOutcome } from '../sql/in.batches.js';
import type { NotificationService } from '../notifications/notification.service.js';

/** How many rows one request changes at most. */
export const MAX_AT_ONCE = 100;
/** At most this many rows are counted before an operator is asked. It is one more than the largest exact count. */
const MAX_COUNTED = 10_001;

/** The actions on a job or a notification. */
export type ActionName = 'retry' | 'cancel' | 'redeliver';

/** The outcome of an action on one row. */
export interface ActionResult {
  readonly id: string;
  /** Why the action was refused; null if it was done. */
  readonly refusal: string | null;
}

const DONE: Record<ActionName, string> = {
  retry: 'retried job',
  cancel: 'cancelled job',
  redeliver: 'delivers again notification',
};

/** The filter of a list, for an action on all rows that match it. */
export interface Matching {
  readonly userId?: string;
  readonly status?: string;
  readonly createdFrom?: Date;
  readonly createdBefore: Date;
  /** When the operator's page read the list. */
  readonly shownAt: Date;
  /** How many rows were counted. Not more rows are changed. */
  readonly limit?: number;
}

const ALL: Record<ActionName, string> = {
  retry: 'retried the failed jobs',
  cancel: 'cancelled the jobs',
  redeliver: 'delivers again the failed notifications',
};

/** Changes jobs and notifications through their services, and logs who did it. */
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
   * Changes all rows that match, or only counts them. The services apply the filter again, so that rows that no
   * longer match stay as they are.
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
      // A job that was created earlier and failed after the list was shown was not on the list.
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
      // Some rows may already be changed when the error comes.
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

  /** The names of the enabled actions. */
  get names(): readonly string[] {
    return this.enabled ? Object.keys(this.calls) : [];
  }

  /**
   * @param actor - the name of the operator
   * @throws ForbiddenException unless actions are enabled
   */
  async act(action: ActionName, ids: readonly string[], actor: string): Promise<ActionResult[]> {
    this.requireEnabled();
    const results: ActionResult[] = [];
    for (const id of ids) {
      const refusal = await refusalOf(() => this.calls[action](id));
      results.push({ id, refusal });
      // The name may contain any text, also line breaks. It must stay within one line of the log.
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

/** A text without characters that would begin a new line. */
const inLine = (text: string): string => text.replace(/[\p{Cc}\u2028\u2029]/gu, ' ');

/** Returns why a call was refused. @throws every error that is no refusal, for example if the database is away */
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
