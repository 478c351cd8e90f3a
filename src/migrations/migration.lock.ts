import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { MigrationError } from '../errors.js';
import type { PgClient, PgResult } from '../peers/pg.internals.js';
import { poolsOf } from '../peers/typeorm.internals.js';
import { endClient, partingWords } from '../connection/pools.js';

/** The wait between two polls of a lock, in ms. The real wait is random, up to twice as long. */
const POLL_MS = 50;

/** How to wait for the lock of the migrations. */
export interface LockOptions {
  /** How long to wait for the lock, in ms. */
  readonly timeoutMs: number;
  /** Is called once with the name of the holder, if the lock is not free. */
  readonly onWait: (holder: string) => void;
  /** Whether there is nothing left to do under the lock. It is asked after each poll that did not get the lock. */
  readonly isDone?: () => Promise<boolean>;
}

/**
 * Runs `work` while no other replica runs its own. It holds a PostgreSQL advisory lock, on its own connection.
 *
 * A transaction holds the lock, not the session, so that it works behind a pooler in transaction mode. It
 * polls for the lock, and each poll is a transaction of its own. A call that waited for the lock would hold a
 * snapshot, and `CREATE INDEX CONCURRENTLY` in the holder's migration would wait for that snapshot. The
 * holder's transaction holds no snapshot, because it is idle and READ COMMITTED.
 *
 * @param work - gets a signal that aborts when the connection with the lock breaks
 * @returns the result of `work`, or undefined if there was nothing left to do when the lock was free
 * @throws MigrationError naming the holder when the time is over
 */
export async function withMigrationLock<T>(
  dataSource: DataSource,
  options: LockOptions,
  work: (lost: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  const lost = new AbortController();
  const client = openClient(dataSource);
  let ending = false;
  client.on('error', (error) => lost.abort(error));
  client.on('end', () => {
    if (!ending) lost.abort(new Error('Connection terminated unexpectedly'));
  });
  await client.connect();
  try {
    const key = migrationLockKey(dataSource);
    const locked = await waitForLock(key, options, {
      tryLock: () => tryLock(client, key),
      query: async (sql) => ((await client.query(sql)) as PgResult).rows,
    });
    return locked ? await work(lost.signal) : undefined;
  } finally {
    // Without it, a pooler would keep the connection and its open transaction.
    if (!lost.signal.aborted) await partingWords(client, client.query('ROLLBACK'));
    ending = true;
    await endClient(client);
  }
}

/**
 * Polls until it gets the lock.
 *
 * @param on - `tryLock` takes the lock if it is free; `query` runs a statement, to name the holder
 * @returns whether it got the lock; if not, there is nothing left to do under it
 */
export async function waitForLock(
  key: string,
  { timeoutMs, onWait, isDone = async () => false }: LockOptions,
  on: { tryLock(): Promise<boolean>; query(sql: string): Promise<unknown[]> },
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (let told = false; !(await on.tryLock());) {
    if (await isDone()) return false;
    const over = performance.now() >= deadline;
    const holder = told && !over ? '' : await describeHolder(on.query, key);
    if (over) {
      throw new MigrationError(
        `Another process holds the migration lock, and has not released it within ${timeoutMs} ms: ` +
          `${holder}. Wait until its migration is done. If it hangs, end it: ` +
          `SELECT pg_terminate_backend(<pid>).`,
      );
    }
    if (!told) onWait(holder);
    told = true;
    await sleep(POLL_MS * (1 + Math.random()));
  }
  return true;
}

/**
 * The key of the lock as SQL. Each schema has one key, whether the option or the search path names the
 * schema. The locks of two databases are separate anyway.
 *
 * @param part - `:transaction` for the lock that each migration's own transaction takes
 */
export function migrationLockKey(dataSource: DataSource, part = ''): string {
  const { schema } = dataSource.options as { schema?: string };
  const meant =
    schema === undefined
      ? `coalesce(current_schema()::text, '')`
      : `'${schema.replaceAll("'", "''")}'`;
  return `hashtextextended('frameforge${part}:' || ${meant}, 0)`;
}

/** Opens a connection with the options of the pool, but outside of it, because the pool may have only one. */
function openClient(dataSource: DataSource): PgClient {
  const [pool] = poolsOf(dataSource);
  if (pool === undefined)
    throw new MigrationError('Initialize the data source before migrating it.');
  return new pool.Client({
    ...pool.options,
    // pg-pool hides the password from copies of its options.
    password: pool.options.password,
    // Replicas that wait for the lock log this name, unless the application has set its own.
    fallback_application_name: `frameforge migrating on ${hostname()}`.slice(0, 63),
  });
}

/** Takes the lock if it is free, and leaves the transaction that holds it open. */
async function tryLock(client: PgClient, key: string): Promise<boolean> {
  const [, result] = (await client.query(
    // The holder is idle for as long as the migrations take. No timeout of the server may end it.
    `BEGIN ISOLATION LEVEL READ COMMITTED;
     SELECT pg_try_advisory_xact_lock(${key}) AS locked,
       (SELECT count(set_config(name, '0', true)) FROM pg_settings
         WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout'))`,
  )) as [PgResult, { rows: { locked: boolean }[] }];
  if (result.rows[0]?.locked === true) return true;
  await client.query('ROLLBACK');
  return false;
}

async function describeHolder(
  query: (sql: string) => Promise<unknown[]>,
  key: string,
): Promise<string> {
  const [holder] = (await query(
    `SELECT l.pid, a.application_name AS application, a.xact_start AS since
     FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND ((l.classid::bigint << 32) | l.objid::bigint) = ${key}`,
  )) as { pid: number; application: string | null; since: Date | null }[];
  if (holder === undefined) return 'its holder has just gone';
  const since = holder.since === null ? '' : `, since ${holder.since.toISOString()}`;
  return `backend pid ${holder.pid}, application_name '${holder.application ?? ''}'${since}`;
}
