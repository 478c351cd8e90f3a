import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseUnavailableError, InvalidInputError } from '../errors.js';
import type { JobStatistics } from '../statistics/job.statistics.js';
import type { JobSearch, NotificationSearch } from '../statistics/statistics.inputs.js';
import type * as types from '../statistics/statistics.types.js';
import { CheckedBy, readInput } from '../input/input.js';
import { instant, integer, text as textOf, uuid } from '../input/rules.js';
import type { Matching } from './console.actions.js';
import { SharedReads } from './shared.reads.js';

/** How long the result of a schema comparison is used, in ms. A comparison takes some hundred milliseconds. */
const SCHEMA_MS = 300_000;

/** How often each kind of page is refreshed, in ms, by a stream or by a request. */
const EVERY_MS = { overview: 3_000, lists: 5_000, job: 2_000 };
/** An answer is shared for this much less than a page's interval, in ms, so that the next request gets a new one. */
const LESS_MS = 100;

/** How long a page waits for the database, in ms. It is less than the browser waits, and than a statement may take. */
const PATIENCE_MS = 8_000;

/** The input of an action on all rows that match a filter. */
class MatchingInput {
  @CheckedBy(textOf(255), 'optional') user?: string;
  @CheckedBy(textOf(20), 'optional') status?: string;
  @CheckedBy(instant, 'optional') from?: Date;
  @CheckedBy(instant, 'optional') to?: Date;
  /** When the list was shown, by the database's clock, in ms since 1970. */
  @CheckedBy(integer(1, 253_402_300_799_999)) at!: number;
  /** How many rows were counted. */
  @CheckedBy(integer(1), 'optional') limit?: number;
}

/** The query of a page. A value is a text if its key is there once. */
export type Query = Readonly<Record<string, unknown>>;

/** The found jobs, and their user if the search named one. */
export type FoundJobs = types.Found<types.FoundJob> & {
  /** The user of the search; null if no user has that name, undefined if the search named no user. */
  readonly user?: types.UserSeen | null;
};

/** The data of a page, and how to read them. */
export interface Shown<T = unknown> {
  /** A text that names the data and all filters. */
  readonly key: string;
  /** How often the data are read again, in ms. */
  readonly everyMs: number;
  readonly read: () => Promise<T>;
}

/** The result of a read, and its time. */
export interface ReadAt<T> {
  /** When the read began, by the database's clock, which sets the times of rows. Later changes may be missing in it. */
  readonly at: Date;
  readonly data: T;
}

/** Reads the data of the pages. Tabs that show the same data share one read. */
export class ConsoleData {
  private readonly reads = new SharedReads();

  /** @param patienceMs - how long to wait for an answer of the database, in ms */
  constructor(
    private readonly statistics: JobStatistics,
    private readonly patienceMs = PATIENCE_MS,
  ) {}

  /** The overview page. */
  overview(): Shown<types.Overview> {
    const read = (): Promise<types.Overview> => this.statistics.overview();
    return { key: 'overview', everyMs: EVERY_MS.overview, read };
  }

  /** Migrations and drift. */
  schema(): Shown<types.SchemaState> {
    return { key: 'schema', everyMs: SCHEMA_MS, read: () => this.statistics.schema() };
  }

  /** A page of jobs. */
  jobs(query: Query): Shown<FoundJobs> {
    const read = async (): Promise<FoundJobs> => {
      const { user: wanted, ...search } = jobSearchOf(query);
      if (wanted === undefined) return this.statistics.searchJobs(search);
      const user = await this.userOf(wanted);
      if (user === null) return { found: [], nextCursor: null, stoppedAt: null, user };
      return { ...(await this.statistics.searchJobs({ ...search, userId: user.userId })), user };
    };
    return { key: keyOf('jobs', query), everyMs: EVERY_MS.lists, read };
  }

  /** One job. */
  job(jobId: string): Shown<types.JobLife> {
    const read = (): Promise<types.JobLife> => this.statistics.jobLife(jobId);
    return { key: `job ${jobId}`, everyMs: EVERY_MS.job, read };
  }

  /** A page of notifications. */
  notifications(query: Query): Shown<types.Found<types.FoundNotification>> {
    const read = (): Promise<types.Found<types.FoundNotification>> =>
      this.statistics.searchNotifications(notificationSearchOf(query));
    return { key: keyOf('notifications', query), everyMs: EVERY_MS.lists, read };
  }

  /**
   * Reads the filter of a list, for an action on all of its rows.
   *
   * @throws InvalidInputError if an action cannot have this filter
   */
  async matching(query: Query): Promise<Matching> {
    const search = filled({ ...query, from: timeOf(query['from']), to: timeOf(query['to']) });
    const { user, status, from, to, at, limit } = readInput('matching', MatchingInput, search);
    const found = user === undefined ? undefined : await this.userOf(user);
    if (found === null) {
      const message = 'must be the id, the name or the e-mail address of a user';
      throw new InvalidInputError('matching', [{ property: 'user', message }]);
    }
    const shownAt = new Date(at);
    return {
      ...(found && { userId: found.userId }),
      ...(status !== undefined && { status }),
      ...(from !== undefined && { createdFrom: from }),
      createdBefore: to !== undefined && to < shownAt ? to : shownAt,
      shownAt,
      ...(limit !== undefined && { limit }),
    };
  }

  /** Forgets the shared reads, because something was changed. */
  changed(): void {
    this.reads.clear();
  }

  /**
   * Reads the data of a page, or returns the data that were read a moment ago.
   *
   * @throws DatabaseUnavailableError if the answer is late. The read goes on, and the next request gets its answer
   */
  async get<T>({ key, everyMs, read }: Shown<T>): Promise<ReadAt<T>> {
    const over = new AbortController();
    const late = sleep(this.patienceMs, undefined, { signal: over.signal }).then(() => {
      const cause = new Error(`no answer within ${this.patienceMs} ms`);
      throw new DatabaseUnavailableError('The console', { cause });
    });
    const readAt = async (): Promise<ReadAt<T>> => {
      const at = await this.statistics.now();
      return { at, data: await read() };
    };
    try {
      return await Promise.race([this.reads.get(key, readAt, everyMs - LESS_MS), late]);
    } finally {
      over.abort();
      await Promise.allSettled([late]);
    }
  }

  private async userOf(text: string): Promise<types.UserSeen | null> {
    if (uuid.accepts(text)) return { userId: text, username: '', email: '' };
    if (!textOf(255).accepts(text)) {
      const { message } = textOf(255);
      throw new InvalidInputError('console', [{ property: 'user', message }]);
    }
    return this.statistics.findUser(text);
  }
}

const KEYS = 'status user text from to order cursor'.split(' ');

const keyOf = (page: string, query: Query): string =>
  JSON.stringify([page, ...KEYS.map((key) => query[key] ?? null)]);

/** Removes keys that are missing or empty in the form, because they are no filter. The service checks all others. */
const filled = (object: Record<string, unknown>): object =>
  Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined && value !== ''),
  );

const timeOf = (value: unknown): unknown =>
  typeof value === 'string' && value !== '' ? new Date(value) : value;

const jobSearchOf = ({ status, user, text, from, to, order, cursor }: Query) =>
  filled({ status, user, text, from: timeOf(from), to: timeOf(to), order, cursor }) as JobSearch & {
    user?: string;
  };

const notificationSearchOf = ({ status, text, from, to, cursor }: Query) =>
  filled({
    deliveryStatus: status,
    text,
    from: timeOf(from),
    to: timeOf(to),
    cursor,
  }) as NotificationSearch;
