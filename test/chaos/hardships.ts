import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS } from './settings.js';

const PASSWORD = 'application';
/** How long, in ms, the other service holds its locks, and how long it then waits. */
const HOLD_MS = 3 * LOCK_TIMEOUT_MS;
const REST_MS = 300;
/** How many of a thousand changes of a job are slow. */
const SLOW = 4;

/**
 * Makes the role of the application. Its statements may wait for a lock, and run, only for a short time. Some changes
 * of a job take longer than that.
 *
 * @returns the URL for a login with this role
 */
export async function createApplicationRole(dataSource: DataSource, url: string): Promise<string> {
  await dataSource.query(`
    CREATE ROLE application LOGIN PASSWORD '${PASSWORD}';
    ALTER ROLE application SET lock_timeout = ${LOCK_TIMEOUT_MS};
    ALTER ROLE application SET statement_timeout = ${STATEMENT_TIMEOUT_MS};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO application;
    CREATE FUNCTION slow_now_and_then() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF random() < ${SLOW / 1_000} THEN PERFORM pg_sleep(${(2 * STATEMENT_TIMEOUT_MS) / 1_000}); END IF;
        RETURN NULL;
      END $$;
    CREATE TRIGGER slow_now_and_then AFTER UPDATE ON video_jobs
      FOR EACH ROW EXECUTE FUNCTION slow_now_and_then();
  `);
  const login = new URL(url);
  login.username = 'application';
  login.password = PASSWORD;
  return login.href;
}

/** Another service on the same database. It sometimes locks processing jobs for longer than statements wait. */
export class Neighbour {
  private stopped = false;
  private working: Promise<void> | undefined;

  constructor(private readonly dataSource: DataSource) {}

  start(): void {
    this.working = this.work();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.working;
  }

  private async work(): Promise<void> {
    while (!this.stopped) {
      try {
        await this.dataSource.transaction(async (manager) => {
          await manager.query(
            `SELECT FROM video_jobs WHERE status = 'processing'
             LIMIT 5 FOR UPDATE SKIP LOCKED`,
          );
          await sleep(HOLD_MS);
        });
      } catch {
        // The database is away, so this service holds no lock.
      }
      await sleep(REST_MS);
    }
  }
}

/** How often the server has ended a statement of the application, by its log. */
export function countTimeouts(log: string): { locks: number; statements: number } {
  const count = (reason: string): number =>
    log.split(`canceling statement due to ${reason} timeout`).length - 1;
  return { locks: count('lock'), statements: count('statement') };
}
