import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseUnavailableError, InvalidInputError } from '../errors.js';
import type { JobStatistics } from '../statistics/job.statistics.js';
import type { JobSearch, NotificationSearch } from '../statistics/statistics.inputs.js';
import type * as types from '../statistics/statistics.types.js';
import { CheckedBy, readInput } from '../input/input.js';
import { instant, integer, text as textOf, uuid } from '../input/rules.js';
import type { Matching } from './console.actions.js';
import { SharedReads } from './shared.reads.js';
import type { ReadAt } from './shared.reads.js';

/** How long, in ms, a comparison of the schema is shown: it takes some hundred milliseconds. */
const SCHEMA_MS = 300_000;

/** How often, in ms, a page is told anew; the pages that ask do so as often. */
const EVERY_MS = { overview: 3_000, lists: 5_000, job: 2_000 };
/** By how much less, in ms, an answer is shown to others: the next one who asks shall get a new one. */
const LESS_MS = 100;

/** How long, in ms, a page waits for the database: less than its reader does, and than a statement may take. */
const PATIENCE_MS = 8_000;

/** What an action on all that match is told. */
class MatchingInput {
  @CheckedBy(textOf(255), 'optional') user?: string;
  @CheckedBy(textOf(20), 'optional') status?: string;
  @CheckedBy(instant, 'optional') from?: Date;
  @CheckedBy(instant, 'optional') to?: Date;
  /** When the list was shown, in ms since 1970. */
  @CheckedBy(integer(1, 253_402_300_799_999)) at!: number;
  /** How many were counted. */
  @CheckedBy(integer(1), 'optional') limit?: number;
}

/** A page's query: each value is a text if it is there once. */
export type Query = Readonly<Record<string, unknown>>;

/** Jobs that were found, of which user. */
export type FoundJobs = types.Found<types.FoundJob> & {
  /** The user that was asked for; null when there is none of that name, undefined when none was asked for. */
  readonly user?: types.UserSeen | null;
};

/** Something that a page shows. */
export interface Shown<T = unknown> {
  /** Says what it is, with all of its filters. */
  readonly key: string;
  /** How often it is read anew, in ms. */
  readonly everyMs: number;
  readonly read: () => Promise<T>;
}

/** What the pages show. Tabs that ask for the same share what is read. */
export class ConsoleData {
  private readonly reads = new SharedReads();

  /** @param patienceMs - how long an answer is waited for */
  constructor(
    private readonly statistics: JobStatistics,
    private readonly patienceMs = PATIENCE_MS,
  ) {}

  /** The first page. */
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
   * What a list is filtered by, for an action on all of it.
   *
   * @throws InvalidInputError if the filter is none that an action can have
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

  /** Something was changed: the next reads are new ones. */
  changed(): void {
    this.reads.clear();
  }

  /**
   * Reads it, unless that was done a moment ago.
   *
   * @throws DatabaseUnavailableError if the answer is late; it is waited for, and shown to who asks next
   */
  async get<T>({ key, everyMs, read }: Shown<T>): Promise<ReadAt<T>> {
    const over = new AbortController();
    const late = sleep(this.patienceMs, undefined, { signal: over.signal }).then(() => {
      const cause = new Error(`no answer within ${this.patienceMs} ms`);
      throw new DatabaseUnavailableError('The console', { cause });
    });
    try {
      return await Promise.race([this.reads.get(key, read, everyMs - LESS_MS), late]);
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

/** What is left out, and what is empty in a form, is no filter. Anything else is checked by the service. */
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
