/** The connections of every subject. So many calls run at the same time. */
export const CONNECTIONS = 16;

/** The sizes of a run. */
export interface Profile {
  readonly name: 'full' | 'smoke';
  /** Rounds that count. In each round, every subject has one turn. */
  readonly rounds: number;
  /** Rounds before them that do not count. They fill caches and let the compiler optimize. */
  readonly warmUps: number;
  /** The length of a turn in which calls per second are counted. */
  readonly turnMs: number;
  readonly users: number;
  /** Rows of one `createJobs`. */
  readonly batchRows: number;
  /** Pending jobs at the beginning of a turn of claims. There are more than the turn can claim. */
  readonly claimBacklog: number;
  /** Pending jobs that are claimed in fair order and by age, and the users who own them. */
  readonly fair: { readonly pending: number; readonly users: number };
  /**
   * The jobs of the user who uploads many, the time that each takes, and the time between two uploads of other
   * users.
   */
  readonly waits: { readonly jobs: number; readonly workMs: number; readonly everyMs: number };
  readonly drainJobs: number;
  /** Jobs for subjects that complete them one by one. */
  readonly slowDrainJobs: number;
  readonly growth: { readonly finished: number; readonly pending: number };
  /** The jobs of the user whose jobs are listed, the page that is compared with the first one, and calls per turn. */
  readonly list: { readonly jobs: number; readonly page: number; readonly calls: number };
  readonly idleTransaction: {
    readonly seconds: number;
    readonly jobsPerSecond: number;
    /** The length of one point of the chart. */
    readonly windowSeconds: number;
  };
  /** Boots of each kind in a turn. */
  readonly boots: number;
  readonly memory: { readonly rounds: number; readonly before: number; readonly after: number };
  /** Settings of the server besides those that make it durable. */
  readonly server: Readonly<Record<string, string>>;
}

const full: Profile = {
  name: 'full',
  rounds: 7,
  warmUps: 1,
  turnMs: 3_000,
  users: 1_000,
  batchRows: 10_000,
  claimBacklog: 30_000,
  fair: { pending: 100_000, users: 10_000 },
  waits: { jobs: 3_000, workMs: 20, everyMs: 250 },
  drainJobs: 50_000,
  slowDrainJobs: 5_000,
  growth: { finished: 5_000_000, pending: 100_000 },
  list: { jobs: 100_000, page: 1_000, calls: 400 },
  idleTransaction: { seconds: 300, jobsPerSecond: 800, windowSeconds: 5 },
  boots: 5,
  memory: { rounds: 5, before: 10_000, after: 200_000 },
  server: { shared_buffers: '2GB', max_wal_size: '8GB' },
};

const smoke: Profile = {
  name: 'smoke',
  rounds: 2,
  warmUps: 0,
  turnMs: 80,
  users: 20,
  batchRows: 500,
  claimBacklog: 5_000,
  fair: { pending: 5_000, users: 500 },
  waits: { jobs: 100, workMs: 5, everyMs: 20 },
  drainJobs: 200,
  slowDrainJobs: 50,
  growth: { finished: 2_000, pending: 500 },
  list: { jobs: 300, page: 5, calls: 5 },
  idleTransaction: { seconds: 1, jobsPerSecond: 200, windowSeconds: 0.25 },
  boots: 1,
  memory: { rounds: 1, before: 100, after: 300 },
  server: { shared_buffers: '128MB', max_wal_size: '1GB' },
};

export const profiles = { full, smoke };
