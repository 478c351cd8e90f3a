import type { DataSource } from 'typeorm';
import { InvalidInputError, JobNotFoundError } from '../errors.js';
import { decodeCursor, encodeCursor } from '../input/cursor.js';
import { DEFAULT_LIMIT } from '../input/defaults.js';
import { readId, readInput } from '../input/input.js';
import { migrationStatus } from '../migrations/migration.status.js';
import { schemaDrift } from '../migrations/schema.drift.js';
import { JobStatus } from '../schema/entities/index.js';
import type { Tables } from '../schema/tables.js';
import { preparedByDefault } from '../sql/prepared-by-default.js';
import { SqlRunner } from '../sql/sql.runner.js';
import type { ServiceOptions } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import { JobSearch, NotificationSearch } from './statistics.inputs.js';
import * as searches from './search.sql.js';
import type { JobWalk } from './search.sql.js';
import * as statements from './statistics.sql.js';
import { observeFigures } from './statistics.metrics.js';
import type * as types from './statistics.types.js';
import { WorkHistory } from './work.history.js';

/** A worker that has not reported for so long, in seconds, is not at work. */
const SILENT_S = 180;
const MAX_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

type Make = (t: Tables) => Statement;

/** Where a search ended. */
interface End {
  /** When it was created. */
  readonly createdAt: Date;
  readonly id: string;
}

/**
 * The figures of the queues and of the workers, and searches for an operator. No statement reads more than
 * 20,000 rows, however large the tables are: counts are exact up to 10,000, and a search says where it
 * stopped. It changes nothing.
 *
 * Every method can reject with `InvalidInputError`, `DatabaseUnavailableError`, and `MigrationError` where the
 * tables are missing.
 */
export class JobStatistics {
  private readonly db: SqlRunner;
  private readonly history: WorkHistory;

  /**
   * @param dataSource - an initialized data source with this package's entities
   * @param options - `preparedStatements`: whether plans are kept by name (default true, unless the
   *   environment says `DB_PREPARED_STATEMENTS=false`); `replyTimeoutMs`: how long to wait for a reply
   *   (default 30,000 ms)
   */
  constructor(
    readonly dataSource: DataSource,
    { preparedStatements = preparedByDefault(), replyTimeoutMs, runner }: ServiceOptions = {},
  ) {
    this.db = runner ?? new SqlRunner(dataSource, preparedStatements, { replyTimeoutMs });
    this.history = new WorkHistory(this.db);
  }

  /** Everything at a glance: the queues, the workers, and what was done within an hour and a week. */
  async overview(): Promise<types.Overview> {
    const { now: at, paused } = await this.processing();
    const jobs = await this.jobFigures();
    const notifications = await this.notificationFigures();
    const workers = await this.workers();
    const { points: lastHour, hour } = await this.history.lastHour(at);
    const lastWeek = await this.history.lastWeek(at);
    return { at, jobs, notifications, workers, paused, lastHour, hour, lastWeek };
  }

  /** How the queue of jobs stands. */
  async jobFigures(): Promise<types.JobFigures> {
    const counts = await this.countAll(statements.countJobs);
    const due = await this.due(statements.dueJobs);
    const lost = await this.due(statements.lostJobs);
    return { counts, due, lost };
  }

  /** How the queue of notifications stands. */
  async notificationFigures(): Promise<types.NotificationFigures> {
    const counts = await this.countAll(statements.countNotifications);
    return { counts, due: await this.due(statements.dueNotifications) };
  }

  /** The worker processes that reported within the last three minutes, up to 3,000. */
  async workers(): Promise<types.WorkerSeen[]> {
    const rows = await this.run<Omit<types.WorkerSeen, 'lastSeen'> & { minute: Date }>(
      statements.workers,
      [SILENT_S],
    );
    return rows.map(({ minute, ...worker }) => ({ ...worker, lastSeen: minute }));
  }

  /**
   * Reports the figures as gauges of OpenTelemetry, whenever the application's metrics are collected:
   * `frameforge.jobs` and `frameforge.notifications` by `status`, `frameforge.jobs.expired`,
   * `frameforge.workers`, `frameforge.workers.places` and `frameforge.workers.running`. One process of all is
   * enough. Without OpenTelemetry it does nothing.
   *
   * @returns how to end that
   */
  async reportToOpenTelemetry(): Promise<() => void> {
    return observeFigures(async () => ({
      jobs: await this.jobFigures(),
      notifications: await this.notificationFigures(),
      workers: await this.workers(),
    }));
  }

  /**
   * Compares the database with what this release needs: migrations that are pending or unknown here, and
   * what differs from the entities. It takes some hundred milliseconds.
   */
  async schema(): Promise<types.SchemaState> {
    const { pending, unknown } = await migrationStatus(this.dataSource);
    // Where migrations are pending, it is they that the tables lack.
    const drift = pending.length > 0 ? [] : await this.drift();
    return { pendingMigrations: pending, unknownMigrations: unknown, drift };
  }

  /**
   * Finds jobs, newest first or longest waiting first. Of a status that more than 10,000 jobs have, and of
   * what a text is in, one call looks at 20,000 jobs; then `stoppedAt` is set, and `nextCursor` goes on.
   */
  async searchJobs(search: JobSearch = {}): Promise<types.Found<types.FoundJob>> {
    const input = readInput('searchJobs', JobSearch, search);
    const { status, userId, text, from, to, order = 'newest', limit = DEFAULT_LIMIT } = input;
    const waits = order === 'waiting';
    const problems = [
      ...(waits && (from ?? to) !== undefined
        ? [{ property: 'order', message: 'must be newest together with from or to' }]
        : []),
      ...(waits && status !== undefined && status !== JobStatus.PENDING
        ? [
            {
              property: 'order',
              message: 'must be newest together with another status than pending',
            },
          ]
        : []),
    ];
    if (problems.length > 0) throw new InvalidInputError('searchJobs', problems);
    const start = waits ? ['-infinity', searches.NIL_ID] : beforeTime(to);
    const position = positionOf(input.cursor) ?? start;
    const where = [...position, from?.toISOString() ?? '-infinity', userId ?? null];
    const values = [...where, limit + 1, status ?? null, text?.toLowerCase() ?? null];
    const walk: JobWalk = waits
      ? userId === undefined
        ? 'waiting'
        : 'waitingOfUser'
      : userId === undefined
        ? 'newest'
        : 'newestOfUser';
    const time = waits ? 'availableAt' : 'createdAt';
    const cursorOf = (job: types.FoundJob) => encodeCursor({ createdAt: job[time], id: job.jobId });
    if (
      walk === 'newest' &&
      status !== undefined &&
      !(await this.count(statements.countJobs[status])).more
    ) {
      const rows = await this.run<types.FoundJob>(searches.searchJobsOfStatus[status], values);
      return pageOf(rows, limit, cursorOf);
    }
    const rows = await this.walk<types.FoundJob>(searches.searchJobs[walk], values, walk);
    return pageOf(rows, limit, cursorOf, () =>
      this.walk<End>(searches.endOfJobs[walk], where, walk),
    );
  }

  /** Finds notifications, newest first, in the same way as `searchJobs`. */
  async searchNotifications(
    search: NotificationSearch = {},
  ): Promise<types.Found<types.FoundNotification>> {
    const input = readInput('searchNotifications', NotificationSearch, search);
    const { deliveryStatus: status, text, from, to, limit = DEFAULT_LIMIT } = input;
    const position = positionOf(input.cursor) ?? ['infinity', MAX_ID];
    const values = [
      ...position,
      from?.toISOString() ?? '-infinity',
      to?.toISOString() ?? 'infinity',
      limit + 1,
      status ?? null,
      text?.toLowerCase() ?? null,
    ];
    if (status !== undefined && !(await this.count(statements.countNotifications[status])).more) {
      const rows = await this.run<types.FoundNotification>(
        searches.searchNotificationsOfStatus[status],
        values,
      );
      return pageOf(rows, limit, cursorOfNotification);
    }
    const rows = await this.walk<types.FoundNotification>(searches.searchNotifications, values);
    return pageOf(rows, limit, cursorOfNotification, () =>
      this.walk<End>(searches.endOfNotifications, position.slice(1)),
    );
  }

  /** The user with an id, a name or an e-mail address; null if there is none. */
  async findUser(nameOrEmail: string): Promise<types.UserSeen | null> {
    const [user] = await this.run<types.UserSeen>(searches.findUser, [nameOrEmail]);
    return user ?? null;
  }

  /**
   * One job with all that is known of its life.
   *
   * @throws JobNotFoundError
   */
  async jobLife(jobId: string): Promise<types.JobLife> {
    const values = [readId('jobLife', 'jobId', jobId)];
    const [job] = await this.run<types.JobInFull>(searches.jobWithUser, values);
    if (job === undefined) throw new JobNotFoundError(jobId);
    const failedRuns = await this.run<types.FailedRun>(searches.failedRuns, values);
    const notifications = await this.run<types.NotificationOfJob>(
      searches.notificationsOfJob,
      values,
    );
    return { job, failedRuns, notifications };
  }

  private async processing(): Promise<{ now: Date; paused: types.Overview['paused'] }> {
    const [row] = await this.run<{ now: Date; pausedAt: Date | null; reason: string | null }>(
      statements.processing,
    );
    const { now = new Date(), pausedAt = null, reason = null } = row ?? {};
    return { now, paused: pausedAt === null ? null : { since: pausedAt, reason } };
  }

  private async drift(): Promise<string[] | null> {
    try {
      return (await schemaDrift(this.dataSource)).map(({ what }) => what);
    } catch (error) {
      // It makes an empty copy of each table for a moment, which a role without CREATE may not.
      if ((error as { code?: string }).code === '42501') return null;
      throw error;
    }
  }

  private async countAll<Status extends string>(
    of: Readonly<Record<Status, Make>>,
  ): Promise<Record<Status, types.BoundedCount>> {
    const counts: [string, types.BoundedCount][] = [];
    // One after the other: the application needs its connections.
    for (const [status, make] of Object.entries<Make>(of)) {
      counts.push([status, await this.count(make)]);
    }
    return Object.fromEntries(counts) as Record<Status, types.BoundedCount>;
  }

  private async count(statement: Make): Promise<types.BoundedCount> {
    const [row] = await this.run<{ count: number }>(statement);
    return bounded(row?.count ?? 0);
  }

  private async due(statement: Make): Promise<types.Due> {
    const [row] = await this.run<{ count: number; oldest: Date | null }>(statement);
    return { ...bounded(row?.count ?? 0), oldest: row?.oldest ?? null };
  }

  /** Reads in the order of an index, and no further than the limit. */
  private walk<Row>(statement: Make, values: readonly unknown[], walk?: JobWalk): Promise<Row[]> {
    return this.db.transaction('JobStatistics', async (run) => {
      await run(searches.readInOrder, [walk?.endsWith('OfUser') === true ? 'off' : 'on']);
      return run<Row>(statement, values);
    });
  }

  private run<Row>(statement: Make, values: readonly unknown[] = []): Promise<Row[]> {
    return this.db.run<Row>('JobStatistics', statement, values);
  }
}

const bounded = (count: number): types.BoundedCount => ({
  count: Math.min(count, statements.EXACT),
  more: count > statements.EXACT,
});

/** What comes before a time, as a position after which a search goes on. */
const beforeTime = (to: Date | undefined): string[] =>
  to === undefined ? ['infinity', MAX_ID] : [to.toISOString(), searches.NIL_ID];

function positionOf(cursor: string | null | undefined): string[] | undefined {
  const position = typeof cursor === 'string' ? decodeCursor(cursor) : undefined;
  return position && [position.createdAt.toISOString(), position.id];
}

const cursorOfNotification = ({ createdAt, notificationId }: types.FoundNotification): string =>
  encodeCursor({ createdAt, id: notificationId });

/** @param end - asks where the search was stopped; left out where it looked at all */
async function pageOf<T>(
  rows: readonly T[],
  limit: number,
  cursorOf: (row: T) => string,
  end: () => Promise<End[]> = () => Promise.resolve([]),
): Promise<types.Found<T>> {
  const found = rows.slice(0, limit);
  const last = found.at(-1);
  if (rows.length > limit && last !== undefined) {
    return { found, nextCursor: cursorOf(last), stoppedAt: null };
  }
  const [stopped] = await end();
  if (stopped === undefined) return { found, nextCursor: null, stoppedAt: null };
  return { found, nextCursor: encodeCursor(stopped), stoppedAt: stopped.createdAt };
}
