import type { JobStatistics } from '../statistics/job.statistics.js';
import type { JobSearch, NotificationSearch } from '../statistics/statistics.inputs.js';
import type * as types from '../statistics/statistics.types.js';
import { uuid } from '../input/rules.js';
import { SharedReads } from './shared.reads.js';

/** How long, in ms, a comparison of the schema is shown: it takes some hundred milliseconds. */
const SCHEMA_MS = 300_000;

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

  constructor(private readonly statistics: JobStatistics) {}

  /** The first page. */
  overview(): Promise<types.Overview> {
    return this.reads.get('overview', () => this.statistics.overview());
  }

  /** Migrations and drift. */
  schema(): Promise<types.SchemaState> {
    return this.reads.get('schema', () => this.statistics.schema(), SCHEMA_MS);
  }

  /** A page of jobs. */
  jobs(query: Query): Promise<FoundJobs> {
    return this.reads.get(keyOf('jobs', query), async () => {
      const { user: wanted, ...search } = jobSearchOf(query);
      if (wanted === undefined) return this.statistics.searchJobs(search);
      const user = await this.userOf(wanted);
      if (user === null) return { found: [], nextCursor: null, stoppedAt: null, user };
      return { ...(await this.statistics.searchJobs({ ...search, userId: user.userId })), user };
    });
  }

  /** One job. */
  job(jobId: string): Promise<types.JobLife> {
    return this.reads.get(`job ${jobId}`, () => this.statistics.jobLife(jobId));
  }

  /** A page of notifications. */
  notifications(query: Query): Promise<types.Found<types.FoundNotification>> {
    return this.reads.get(keyOf('notifications', query), () =>
      this.statistics.searchNotifications(notificationSearchOf(query)),
    );
  }

  /** Something was changed: the next reads are new ones. */
  changed(): void {
    this.reads.clear();
  }

  private async userOf(text: string): Promise<types.UserSeen | null> {
    if (uuid.accepts(text)) return { userId: text, username: '', email: '' };
    return this.statistics.findUser(text);
  }
}

const KEYS = ['status', 'user', 'text', 'from', 'to', 'order', 'cursor'];

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
