import type { DataSource } from 'typeorm';
import { ConfigurationError } from '../errors.js';
import { JobService } from '../jobs/job.service.js';
import { NotificationService } from '../notifications/notification.service.js';
import { NotificationLog, VideoJob } from '../schema/entities/index.js';
import type { BulkOutcome } from '../sql/in.batches.js';
import type { BulkArguments, BulkCommand } from './bulk.arguments.js';

/** How long one statement may take, in ms. It is long, because a count may read a large table. */
const REPLY_TIMEOUT_MS = 600_000;

interface Bulk {
  /** The name of the rows, in the plural. */
  readonly rows: string;
  /** The word for what was done to them. */
  readonly done: string;
  /** @param dryRun - only counts the rows */
  run(dryRun: boolean): Promise<BulkOutcome>;
}

/**
 * Retries, cancels, delivers again or removes the rows that a filter finds. It first prints how many rows there are.
 * It changes them only with the option `--yes`.
 */
export async function changeMany(
  dataSource: DataSource,
  command: BulkCommand,
  { filter, yes }: BulkArguments,
  out: (line: string) => void,
): Promise<void> {
  const { rows, done, run } = bulkOf(dataSource, command, filter);
  const { matched } = await run(true);
  if (matched === 0) {
    out(`Nothing to do: no ${rows} match.`);
    return;
  }
  if (!yes) {
    out(`${matched} ${rows} would be ${done}. Nothing was changed: run this again with --yes.`);
    return;
  }
  out(`${matched} ${rows} will be ${done}.`);
  const outcome = await run(false);
  const left = outcome.matched - outcome.changed;
  out(
    `${outcome.changed} were ${done}${left > 0 ? `; ${left} were changed by another process meanwhile` : ''}.`,
  );
}

/** @param filter - the filter of the command line; the services check it */
function bulkOf(dataSource: DataSource, command: BulkCommand, filter: object): Bulk {
  if (![VideoJob, NotificationLog].every((entity) => dataSource.hasMetadata(entity))) {
    throw new ConfigurationError(
      `${command} needs a data source that has the entities of this package: add frameForgeEntities to its \`entities\`.`,
    );
  }
  const options = { replyTimeoutMs: REPLY_TIMEOUT_MS };
  const jobs = new JobService(dataSource, options);
  switch (command) {
    case 'retry': {
      const run = (dryRun: boolean) => jobs.retryJobs({ ...filter, dryRun });
      return { rows: 'failed jobs', done: 'retried', run };
    }
    case 'cancel': {
      const run = (dryRun: boolean) => jobs.cancelJobs({ ...filter, dryRun });
      return { rows: 'pending and processing jobs', done: 'cancelled', run };
    }
    case 'redeliver': {
      const notifications = new NotificationService(dataSource, options);
      const run = (dryRun: boolean) => notifications.redeliverNotifications({ ...filter, dryRun });
      return { rows: 'failed notifications', done: 'put back for delivery', run };
    }
    case 'prune': {
      const run = async (dryRun: boolean): Promise<BulkOutcome> => {
        const count = await jobs.pruneJobs({ ...(filter as { olderThan: Date }), dryRun });
        return { matched: count, changed: count };
      };
      return { rows: 'completed and failed jobs', done: 'removed', run };
    }
  }
}
