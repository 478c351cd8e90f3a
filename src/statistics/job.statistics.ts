import type { DataSource } from 'typeorm';
import { InvalidInputError, JobNotFoundError } from '../errors.js';
import { DEFAULT_LIMIT } from '../input/defaults.js';
import { readId, readInput } from '../input/input.js';
import { migrationStatus } from '../migrations/migration.status.js';
import { schemaDrift } from '../migrations/schema.drift.js';
import { frameForgeEntities, JobStatus } from '../schema/entities/index.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
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
import {
  idAfterAllOfToday,
  olderPage,
  placeAmongNotifications,
  placeOfNotification,
} from './older.notifications.js';
import type { EndOfOlder, ReadOlder } from './older.notifications.js';
import { beforeTime, pageOf, positionOf } from './search.pages.js';
import type { End } from './search.pages.js';
import { WorkHistory } from './work.history.js';

/** A worker that has not reported for this many seconds counts as gone. */
const SILENT_S = 180;

type Make = (t: Tables) => Statement;

/**
 * The figures of the queues and of the workers, and searches for an operator. No statement reads more than
 * 20,000 rows, however large the tables are. Counts are exact up to 10,000, and a search says where it
 * stopped. It changes nothing.
 *
 * Every method can reject with `InvalidInputError`, `DatabaseUnavailableError`, and `MigrationError` if the
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

  /** Reads the state of the queues and the workers, and the work of the last hour and the last week. */
  async overview(): Promise<types.Overview> {
    const { now: at, paused } = await this.processing();
    const jobs = await this.jobFigures();
    const notifications = await this.notificationFigures();
    const workers = await this.workers();
    const { points: lastHour, hour } = await this.history.lastHour(at);
    const lastWeek = await this.history.lastWeek(at);
    return { at, jobs, notifications, workers, paused, lastHour, hour, lastWeek };
  }

  /** Reads the time of the database's clock, which sets the times of rows. */
  async now(): Promise<Date> {
    return (await this.processing()).now;
  }

  /** Reads the state of the queue of jobs. */
  async jobFigures(): Promise<types.JobFigures> {
    const counts = await this.countAll(statements.countJobs);
    const due = await this.due(statements.dueJobs);
    const lost = await this.due(statements.lostJobs);
    return { counts, due, lost };
  }

  /** Reads the state of the queue of notifications. */
  async notificationFigures(): Promise<types.NotificationFigures> {
    const counts = await this.countAll(statements.countNotifications);
    return { counts, due: await this.due(statements.dueNotifications) };
  }

  /** Reads the worker processes that reported within the last three minutes, up to 3,000. */
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
   * `frameforge.workers`, `frameforge.workers.places` and `frameforge.workers.running`. Call it in one
   * process only. Without OpenTelemetry it does nothing.
   *
   * @returns a function that ends the reports
   */
  async reportToOpenTelemetry(): Promise<() => void> {
    return observeFigures(async () => ({
      jobs: await this.jobFigures(),
      notifications: await this.notificationFigures(),
      workers: await this.workers(),
    }));
  }

  /**
   * Compares the database with the needs of this release. Finds migrations of this package that are pending or
   * unknown here, and differences between the tables and the entities. It takes some hundred milliseconds.
   */
  async schema(): Promise<types.SchemaState> {
    const { pending: all, unknown } = await migrationStatus(this.dataSource);
    const pending = all.filter(isFrameForgeMigration);
    // If migrations are pending, they explain the differences.
    const drift = pending.length > 0 ? [] : await this.drift();
    return { pendingMigrations: pending, unknownMigrations: unknown, drift };
  }

  /**
   * Finds jobs, newest first or longest waiting first. A search by text, or by a status that more than 10,000
   * jobs have, looks at 20,000 jobs in one call. Then it sets `stoppedAt`, and the next call with `nextCursor`
   * goes on.
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
    const placeOf = (job: types.FoundJob) => ({ createdAt: job[time], id: job.jobId });
    if (
      walk === 'newest' &&
      status !== undefined &&
      !(await this.count(statements.countJobs[status])).more
    ) {
      const rows = await this.run<types.FoundJob>(searches.searchJobsOfStatus[status], values);
      return pageOf(rows, limit, placeOf);
    }
    const rows = await this.walk<types.FoundJob>(searches.searchJobs[walk], values, walk);
    return pageOf(rows, limit, placeOf, {
      direction: waits ? 'ASC' : 'DESC',
      read: () => this.walk<End>(searches.endOfJobs[walk], where, walk),
    });
  }

  /**
   * Finds notifications, newest first, in the same way as `searchJobs`. Notifications that older services have
   * logged come after all others, because they have random ids.
   */
  async searchNotifications(
    search: NotificationSearch = {},
  ): Promise<types.Found<types.FoundNotification>> {
    const input = readInput('searchNotifications', NotificationSearch, search);
    const { deliveryStatus: status, text, from, to, limit = DEFAULT_LIMIT } = input;
    const place = placeAmongNotifications(input.cursor);
    const valuesOf = (position: readonly string[], count: number): unknown[] => [
      ...position,
      from?.toISOString() ?? '-infinity',
      to?.toISOString() ?? 'infinity',
      count + 1,
      status ?? null,
      text?.toLowerCase() ?? null,
    ];
    if (status !== undefined && !(await this.count(statements.countNotifications[status])).more) {
      const rows = await this.run<types.FoundNotification>(
        searches.searchNotificationsOfStatus[status],
        valuesOf(place.position ?? beforeTime(undefined), limit),
      );
      return pageOf(rows, limit, placeOfNotification);
    }
    const firstRandomId = idAfterAllOfToday();
    const readOlder: ReadOlder = (startId, position, count) =>
      this.walk(searches.searchOlderNotifications, [
        ...valuesOf(position, count),
        startId,
        firstRandomId,
      ]);
    const endOfOlder = (startId: string): Promise<EndOfOlder[]> =>
      this.walk(searches.endOfOlderNotifications, [startId, firstRandomId]);
    if (place.startId !== undefined) return olderPage(place, limit, readOlder, endOfOlder);
    const position = place.position ?? ['infinity', firstRandomId];
    const rows = await this.walk<types.FoundNotification>(
      searches.searchNotifications,
      valuesOf(position, limit),
    );
    const page = await pageOf(rows, limit, placeOfNotification, {
      direction: 'DESC',
      read: () => this.walk<End>(searches.endOfNotifications, position.slice(1)),
    });
    if (page.nextCursor !== null) return page;
    const older = await olderPage({}, limit - page.found.length, readOlder, endOfOlder);
    return { ...older, found: [...page.found, ...older.found] };
  }

  /** Finds the user with an id, a name or an e-mail address; null if there is none. */
  async findUser(nameOrEmail: string): Promise<types.UserSeen | null> {
    const [user] = await this.run<types.UserSeen>(searches.findUser, [nameOrEmail]);
    return user ?? null;
  }

  /**
   * Reads a job with its failed runs and its notifications.
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
      const drift = (await schemaDrift(this.dataSource)).map(({ what }) => what);
      return drift.filter(isOfTables(tableNamesOf(this.dataSource)));
    } catch (error) {
      // The comparison makes an empty copy of each table for a moment. A role without CREATE may not do that.
      if ((error as { code?: string }).code === '42501') return null;
      throw error;
    }
  }

  private async countAll<Status extends string>(
    of: Readonly<Record<Status, Make>>,
  ): Promise<Record<Status, types.BoundedCount>> {
    const counts: [string, types.BoundedCount][] = [];
    // The statements run one after the other, because the application needs its connections.
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

  /** Reads rows in the order of an index, up to the limit. */
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

const tableNamesOf = (dataSource: DataSource): string[] =>
  frameForgeEntities.map((entity) => dataSource.getMetadata(entity).tableName);

/** @returns whether a difference is about one of these tables; the application has other tables too */
function isOfTables(tables: readonly string[]): (what: string) => boolean {
  const names = `(?:"[^"]+"\\.)?"(?:${tables.join('|')})"`;
  const expression = new RegExp(`(?:^table|of) ${names}$|column ${names}\\.`, 'i');
  return (what) => expression.test(what);
}
