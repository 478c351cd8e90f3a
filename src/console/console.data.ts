import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseUnavailableError, InvalidInputError } from '../errors.js';
import type { JobStatistics } from '../statistics/job.statistics.js';
import type { JobSearch, NotificationSearch } from '../statistics/statistics.inputs.js';
import type * as types from '../statistics/statistics.types.js';
import { CheckedBy, readInput } from '../input/input.js';
import { instant, integer, text as textOf, uuid } from '../input/rules.js';
import type { Matching } from './console.actions.js';
import { SharedReads } from './shared.reads.js';

/** How long, in ms, a comparison of the schema is shown: it takes some hundred milliseconds. */
const SCHEMA_MS = 300_000;

/** How long, in ms, an answer is shown: just less than its pages wait between two reads. */
const FRESH_MS = { overview: 2_900, lists: 4_900 };

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

/** What the pages show. Tabs that ask for the same share what is read. */
export class ConsoleData {
  private readonly reads = new SharedReads();

  /** @param patienceMs - how long an answer is waited for */
  constructor(
    private readonly statistics: JobStatistics,
    private readonly patienceMs = PATIENCE_MS,
  ) {}

  /** The first page. */
  overview(): Promise<types.Overview> {
    return this.read('overview', () => this.statistics.overview(), FRESH_MS.overview);
  }

  /** Migrations and drift. */
  schema(): Promise<types.SchemaState> {
    return this.read('schema', () => this.statistics.schema(), SCHEMA_MS);
  }

  /** A page of jobs. */
  jobs(query: Query): Promise<FoundJobs> {
    return this.read(
      keyOf('jobs', query),
      async () => {
        const { user: wanted, ...search } = jobSearchOf(query);
        if (wanted === undefined) return this.statistics.searchJobs(search);
        const user = await this.userOf(wanted);
        if (user === null) return { found: [], nextCursor: null, stoppedAt: null, user };
        return { ...(await this.statistics.searchJobs({ ...search, userId: user.userId })), user };
      },
      FRESH_MS.lists,
    );
  }

  /** One job. */
  job(jobId: string): Promise<types.JobLife> {
    return this.read(`job ${jobId}`, () => this.statistics.jobLife(jobId));
  }

  /** A page of notifications. */
  notifications(query: Query): Promise<types.Found<types.FoundNotification>> {
    const search = (): Promise<types.Found<types.FoundNotification>> =>
      this.statistics.searchNotifications(notificationSearchOf(query));
    return this.read(keyOf('notifications', query), search, FRESH_MS.lists);
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

  /** @throws DatabaseUnavailableError if the answer is late; it is waited for, and shown to who asks next */
  private async read<T>(key: string, read: () => Promise<T>, freshMs?: number): Promise<T> {
    const over = new AbortController();
    const late = sleep(this.patienceMs, undefined, { signal: over.signal }).then(() => {
      const cause = new Error(`no answer within ${this.patienceMs} ms`);
      throw new DatabaseUnavailableError('The console', { cause });
    });
    try {
      return await Promise.race([this.reads.get(key, read, freshMs), late]);
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
