import type { DataSource, EntityManager } from 'typeorm';
import { DatabaseUnavailableError } from '../errors.js';
import { cutOff } from '../peers/pg.internals.js';
import type { PgClient } from '../peers/pg.internals.js';

/** The statements that TypeORM sends by itself. */
type Word = 'BEGIN' | 'ROLLBACK' | 'COMMIT';

/**
 * Runs the application's own work in a transaction of TypeORM. TypeORM waits for the replies to its BEGIN, COMMIT and
 * ROLLBACK for ever. This function ends the connection if such a reply does not come in time. The statements that
 * `work` sends have no such limit.
 *
 * @param operation - what is being done, as the subject of the error's message
 * @param timeoutMs - how long one reply may take, in ms
 * @throws DatabaseUnavailableError if there was no reply; its `outcome` is 'unknown' after a COMMIT
 */
export async function boundedTransaction<T>(
  dataSource: DataSource,
  operation: string,
  timeoutMs: number,
  work: (manager: EntityManager) => Promise<T>,
): Promise<T> {
  const queryRunner = dataSource.createQueryRunner('master');
  let timer: NodeJS.Timeout | undefined;
  let waitsFor: Word = 'BEGIN';
  const unanswered = new Set<Word>();
  try {
    const client = (await queryRunner.connect()) as PgClient;
    const expectReply = (): void => {
      timer = setTimeout(() => {
        unanswered.add(waitsFor);
        cutOff(client);
      }, timeoutMs);
    };
    expectReply();
    return await queryRunner.manager.transaction(async (manager) => {
      clearTimeout(timer);
      waitsFor = 'ROLLBACK';
      try {
        const result = await work(manager);
        waitsFor = 'COMMIT';
        return result;
      } finally {
        expectReply();
      }
    });
  } catch (error) {
    const [text] = unanswered;
    // After a rollback the error has the reason of the rollback, whether the server has answered or not.
    if (text === undefined || text === 'ROLLBACK') throw error;
    const cause = new Error(`the server did not reply to ${text} within ${timeoutMs} ms`);
    const outcome = text === 'COMMIT' ? 'unknown' : 'not done';
    throw new DatabaseUnavailableError(operation, { cause, outcome });
  } finally {
    clearTimeout(timer);
    await queryRunner.release();
  }
}
