import { MigrationError } from '../../errors.js';
import type { SqlRunner } from '../../sql/sql.runner.js';
import { announce } from '../job.events.js';
import * as statements from './processing.state.sql.js';

/** Pauses the claims of all workers. @throws MigrationError if the database has lost the row for it */
export async function pauseProcessing(db: SqlRunner, reason: string | undefined): Promise<void> {
  const operation = 'pauseProcessing';
  const [state] = await db.run(operation, statements.pauseProcessing, [reason ?? null]);
  if (state !== undefined) return;
  throw new MigrationError(
    `${operation} changed nothing: the table processing_state has lost its only row. ` +
      `Run INSERT INTO processing_state DEFAULT VALUES, and try again.`,
  );
}

/** Lets workers claim again, and wakes idle workers. */
export async function resumeProcessing(db: SqlRunner): Promise<void> {
  const [wasPaused] = await db.run('resumeProcessing', statements.resumeProcessing, []);
  if (wasPaused !== undefined) announce(db.dataSource, 'jobs', 1, undefined, false);
}
