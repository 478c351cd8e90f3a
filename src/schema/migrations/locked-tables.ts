import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';
import { MigrationError } from '../../errors.js';

/** A mode of PostgreSQL's `LOCK TABLE`. */
type LockMode = 'ACCESS EXCLUSIVE' | 'SHARE ROW EXCLUSIVE' | 'SHARE' | 'SHARE UPDATE EXCLUSIVE';

/**
 * How long to wait for a lock, in ms. Statements that come later wait behind this one for so long. It is more
 * than one second, because after a second PostgreSQL ends an autovacuum that is in the way.
 */
const LOCK_TIMEOUT_MS = 2_000;
const TRIES = 40;
const [FIRST_PAUSE_MS, LAST_PAUSE_MS] = [250, 2_000];
/** PostgreSQL's error codes when another session is in the way: the lock timed out, or a deadlock was found. */
const IN_THE_WAY = new Set(['55P03', '40P01']);

/**
 * Does a migration's work while it holds locks on tables. It takes all locks before the work begins. If it
 * does not get one of them soon, it gives up all of them and tries again. So a long transaction of somebody
 * else delays only the migration. Other statements do not queue behind it.
 *
 * @param tables - the tables' names as SQL
 * @param work - runs in a transaction, or in a savepoint of the open transaction
 * @throws MigrationError naming who is in the way, after 40 tries
 */
export async function withLockedTables(
  queryRunner: QueryRunner,
  mode: LockMode,
  tables: readonly string[],
  work: () => Promise<unknown>,
): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  for (let tries = 1; ; tries += 1) {
    await queryRunner.startTransaction();
    try {
      // The role's own limits are for its everyday statements, so they are off during all of the work.
      const before = await setTimeouts(queryRunner, [`${LOCK_TIMEOUT_MS}`, '0']);
      await queryRunner.query(`LOCK TABLE ${tables.join(', ')} IN ${mode} MODE`);
      await work();
      await setTimeouts(queryRunner, before);
      await queryRunner.commitTransaction();
      return;
    } catch (error) {
      await queryRunner.rollbackTransaction();
      const { driverError = error } = error as { driverError?: unknown };
      if (!IN_THE_WAY.has(String((driverError as { code?: unknown }).code))) throw error;
      if (tries === TRIES) throw await inTheWay(queryRunner, tables, error);
    }
    await sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS);
  }
}

/**
 * Does work outside of a transaction, without the limits that a role has for its everyday statements. It
 * changes settings of the session, so it does not work behind a pooler in transaction mode.
 */
export async function withoutTimeouts(
  queryRunner: QueryRunner,
  work: () => Promise<void>,
): Promise<void> {
  const before = await setTimeouts(queryRunner, ['0', '0'], false);
  const restore = async (): Promise<void> => void (await setTimeouts(queryRunner, before, false));
  await work().catch(async (error: unknown) => {
    // The error of the work matters more than an error of the restore.
    await restore().catch(() => {});
    throw error;
  });
  await restore();
}

/** Sets `lock_timeout` and `statement_timeout`. @returns their earlier values */
async function setTimeouts(
  queryRunner: QueryRunner,
  timeouts: readonly string[],
  forTransaction = true,
): Promise<readonly string[]> {
  const [row] = (await queryRunner.query(
    `SELECT current_setting('lock_timeout') AS "lock", current_setting('statement_timeout') AS "statement"`,
  )) as { lock: string; statement: string }[];
  await queryRunner.query(
    `SELECT set_config('lock_timeout', $1, $3), set_config('statement_timeout', $2, $3)`,
    [...timeouts, forTransaction],
  );
  return [row?.lock ?? '0', row?.statement ?? '0'];
}

async function inTheWay(
  queryRunner: QueryRunner,
  tables: readonly string[],
  cause: unknown,
): Promise<MigrationError> {
  const holders = (await queryRunner.query(
    `SELECT DISTINCT a.pid, a.application_name AS "application", a.xact_start AS "since"
     FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.granted AND l.relation = ANY($1::regclass[]) AND a.pid <> pg_backend_pid()`,
    [tables],
  )) as { pid: number; application: string; since: Date | null }[];
  const who = holders.map(
    ({ pid, application, since }) =>
      `backend pid ${pid}, application_name '${application}', in a transaction since ` +
      `${since?.toISOString() ?? 'just now'}`,
  );
  return new MigrationError(
    `The migration could not lock ${tables.join(', ')} in ${TRIES} tries, because other sessions use them: ` +
      `${who.join('; ') || 'they have just ended'}. It changed nothing. Wait until these sessions are done, or ` +
      `end them with SELECT pg_terminate_backend(<pid>). Then migrate again.`,
    { cause },
  );
}
