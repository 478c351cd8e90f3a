import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { DatabaseUnavailableError, fromDriver, InvalidInputError } from '../errors.js';
import type { Tables } from '../schema/tables.js';
import { tablesOf } from '../schema/tables.js';
import type { PgClient, PgQuery, PgResult } from '../peers/pg.internals.js';
import { endClient } from '../connection/pools.js';
import type { Statement } from './statement.js';
import type { ReadOptions, TransactionOptions } from './transaction.options.js';

/**
 * Runs statements as prepared ones on the data source's pool, or in a caller's transaction, and
 * turns the driver's errors into this package's.
 */
export class SqlRunner {
  private readonly statements = new WeakMap<(tables: Tables) => Statement, Statement>();
  private tables?: Tables;

  /**
   * @param prepared - whether plans are kept by name; false for PgBouncer before 1.21 in
   *   transaction mode, which gives the next statement another connection
   * @param replyTimeoutMs - how long to wait for the reply to a statement that is a transaction of its
   *   own, before its connection is given up; for ever if left out
   */
  constructor(
    readonly dataSource: DataSource,
    private readonly prepared: boolean,
    private readonly replyTimeoutMs?: number,
  ) {}

  /**
   * Runs one statement.
   *
   * @param operation - the method that asks, for the error's message
   * @param make - writes the statement, once for this data source's tables
   * @param options - `manager`, or for a statement that only reads `replica`
   */
  async run<Row>(
    operation: string,
    make: (tables: Tables) => Statement,
    values: readonly unknown[],
    { manager, replica }: ReadOptions = {},
  ): Promise<Row[]> {
    const statement = this.statementOf(make);
    const joined = manager === undefined ? undefined : this.queryRunnerOf(operation, manager);
    if (joined !== undefined) {
      if (replica === true) {
        const message = 'cannot go together with manager, whose transaction is on the primary';
        throw new InvalidInputError(operation, [{ property: 'options.replica', message }]);
      }
      return this.query(operation, joined, statement, values);
    }
    const queryRunner = this.dataSource.createQueryRunner(replica === true ? 'slave' : 'master');
    try {
      return await this.query(operation, queryRunner, statement, values, this.replyTimeoutMs);
    } catch (error) {
      if (error instanceof DatabaseUnavailableError) await discard(queryRunner);
      throw error;
    } finally {
      await queryRunner.release();
    }
  }

  /** Runs several statements as one: in a transaction, or in a savepoint of the caller's. */
  async atomically<T>(
    operation: string,
    { manager }: TransactionOptions,
    work: (manager: EntityManager) => Promise<T>,
  ): Promise<T> {
    if (manager !== undefined) this.queryRunnerOf(operation, manager);
    try {
      return await (manager ?? this.dataSource.manager).transaction(work);
    } catch (error) {
      throw fromDriver(error, operation);
    }
  }

  private statementOf(make: (tables: Tables) => Statement): Statement {
    this.tables ??= tablesOf(this.dataSource);
    const statement = this.statements.get(make) ?? make(this.tables);
    this.statements.set(make, statement);
    return statement;
  }

  private async query<Row>(
    operation: string,
    queryRunner: QueryRunner,
    { name, text }: Statement,
    values: readonly unknown[],
    timeoutMs?: number,
  ): Promise<Row[]> {
    const { logger } = this.dataSource;
    const client = await connect(operation, queryRunner);
    logger.logQuery(text, [...values], queryRunner);
    const start = performance.now();
    try {
      const query = { name: this.prepared ? name : undefined, text, values };
      const { rows } = await replyTo(client, query, timeoutMs);
      const elapsed = Math.round(performance.now() - start);
      const slow = this.dataSource.options.maxQueryExecutionTime;
      if (slow !== undefined && slow > 0 && elapsed > slow) {
        logger.logQuerySlow(elapsed, text, [...values], queryRunner);
      }
      return rows;
    } catch (error) {
      logger.logQueryError(error as Error, text, [...values], queryRunner);
      throw fromDriver(error, operation);
    }
  }

  /**
   * The connection of a manager's transaction; undefined for the data source's own manager, which has
   * none. A manager that can't be joined is refused: a write that silently went elsewhere would
   * commit what the caller rolls back.
   */
  private queryRunnerOf(operation: string, manager: EntityManager): QueryRunner | undefined {
    const refuse = (message: string): never => {
      throw new InvalidInputError(operation, [{ property: 'options.manager', message }]);
    };
    if (manager.dataSource !== this.dataSource) {
      refuse('must belong to the same data source as the service');
    }
    if (manager.queryRunner?.isReleased === true) {
      if (manager.queryRunner.isTransactionActive) {
        const cause = new Error('the connection of its transaction broke');
        throw new DatabaseUnavailableError(operation, { cause });
      }
      refuse('must belong to a transaction that is still open: this one is over');
    }
    return manager.queryRunner;
  }
}

async function connect(operation: string, queryRunner: QueryRunner): Promise<PgClient> {
  try {
    return (await queryRunner.connect()) as PgClient;
  } catch (error) {
    throw fromDriver(error, operation);
  }
}

/**
 * Neither the promise that `pg` would make nor its `query_timeout`: these assign a closure to a property,
 * which V8 allocates among the old objects, and all that it can reach, such as the rows, would survive until
 * the next full garbage collection.
 *
 * @param timeoutMs - after which the caller has to give up the connection
 */
function replyTo(client: PgClient, query: PgQuery, timeoutMs?: number): Promise<PgResult> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      const error = new Error(`the server did not reply within ${timeoutMs} ms`);
      reject(Object.assign(error, { code: 'ETIMEDOUT' }));
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(giveUp, timeoutMs);
    client.query(query, (error, result) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve(result);
    });
  });
}

/**
 * Keeps a broken connection from going back to the pool: the server has said that it is going, but
 * the socket's end may not have arrived, and the next call would get it.
 */
async function discard(queryRunner: QueryRunner): Promise<void> {
  const client = (await queryRunner.connect().catch(() => undefined)) as PgClient | undefined;
  if (client !== undefined) void endClient(client);
}
