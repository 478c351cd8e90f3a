import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import type { QueryRunner } from 'typeorm';
import { MigrationError } from '../errors.js';

/** A wait between two polls of the lock, in ms; twice as long at the most. */
const POLL_MS = 50;

/**
 * Runs `work` while no other replica does, by a PostgreSQL advisory lock on a connection of its own.
 *
 * The lock is held by a transaction, not by the session, so that it works behind a pooler in
 * transaction mode. It is polled, each poll a transaction of its own: a lock call that waits would
 * hold a snapshot, which is what `CREATE INDEX CONCURRENTLY` in a migration waits for in turn. The
 * holder's transaction is idle and holds none.
 *
 * @param timeoutMs - how long to wait for the lock
 * @throws MigrationError naming the holder when the time is over
 */
export async function withMigrationLock<T>(
  dataSource: DataSource,
  timeoutMs: number,
  onWait: (holder: string) => void,
  work: () => Promise<T>,
): Promise<T> {
  const key = lockKey(dataSource);
  const lock = await new DataSource({
    ...dataSource.options,
    entities: [],
    migrations: [],
    subscribers: [],
    cache: false,
    poolSize: 1,
    extra: { ...(dataSource.options.extra as object | undefined), min: 0, max: 1 },
  } as DataSource['options']).initialize();
  const queryRunner = lock.createQueryRunner('master');
  try {
    const deadline = performance.now() + timeoutMs;
    for (let told = false; !(await tryLock(queryRunner, key));) {
      const holder =
        told && performance.now() < deadline ? '' : await describeHolder(queryRunner, key);
      if (performance.now() >= deadline) {
        throw new MigrationError(
          `Another process holds the migration lock, and did not release it within ${timeoutMs} ms: ` +
            `${holder}. Wait until its migration is done, or end that backend if it hangs: ` +
            `SELECT pg_terminate_backend(<pid>).`,
        );
      }
      if (!told) onWait(holder);
      told = true;
      await sleep(POLL_MS * (1 + Math.random()));
    }
    return await work();
  } finally {
    // Closing the connection would do as well, but not behind a pooler.
    if (queryRunner.isTransactionActive) await queryRunner.rollbackTransaction().catch(() => {});
    await queryRunner.release();
    await lock.destroy();
  }
}

/** One lock for each table of migrations; PostgreSQL keeps the locks of databases apart by itself. */
function lockKey(dataSource: DataSource): string {
  const { schema, migrationsTableName } = dataSource.options as {
    schema?: string;
    migrationsTableName?: string;
  };
  const name = `frameforge:${schema ?? ''}:${migrationsTableName ?? 'migrations'}`;
  return createHash('sha256').update(name).digest().readBigInt64BE().toString();
}

/** Takes the lock if it is free, and leaves the transaction that holds it open. */
async function tryLock(queryRunner: QueryRunner, key: string): Promise<boolean> {
  await queryRunner.startTransaction('READ COMMITTED');
  const [row] = (await queryRunner.query(
    // The holder idles for as long as the migrations take: no timeout of the server may end it.
    `SELECT pg_try_advisory_xact_lock($1::bigint) AS locked,
       (SELECT count(set_config(name, '0', true)) FROM pg_settings
         WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout'))`,
    [key],
  )) as { locked: boolean }[];
  if (row?.locked === true) return true;
  await queryRunner.rollbackTransaction();
  return false;
}

async function describeHolder(queryRunner: QueryRunner, key: string): Promise<string> {
  const [holder] = (await queryRunner.query(
    `SELECT l.pid, a.application_name AS application, a.xact_start AS since
     FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND ((l.classid::bigint << 32) | l.objid::bigint) = $1::bigint`,
    [key],
  )) as { pid: number; application: string | null; since: Date | null }[];
  if (holder === undefined) return 'its holder has just gone';
  const since = holder.since === null ? '' : ` since ${holder.since.toISOString()}`;
  return `backend pid ${holder.pid}, application_name '${holder.application ?? ''}',${since}`;
}
