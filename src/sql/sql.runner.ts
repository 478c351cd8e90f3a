import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { refuseWhileClosing } from '../connection/draining.data-source.js';
import { DatabaseUnavailableError, InvalidInputError } from '../errors.js';
import { fromDriver, hasLostPlans, hasStalePlan, hideRow, isAnswer } from '../errors.driver.js';
import { cutOff, sendsBinary } from '../peers/pg.internals.js';
import type { PgClient, PgPool } from '../peers/pg.internals.js';
import { dataSourceOf, poolsOf } from '../peers/typeorm.internals.js';
import { readInput } from '../input/input.js';
import type { Tables } from '../schema/tables.js';
import { tablesOf } from '../schema/tables.js';
import { toBinary } from './binary.arrays.js';
import { checkOut, giveBack } from './checkout.js';
import { isUnanswered, reply } from './reply.js';
import { DEFAULT_REPLY_TIMEOUT_MS } from './runner.defaults.js';
import { resultTypes } from './result.types.js';
import { sessionOf, writesIso } from './session.js';
import type { Session } from './session.js';
import type { Statement } from './statement.js';
import { TransactionOptions } from './transaction.options.js';
import type { ReadOptions } from './transaction.options.js';

/** The options of a runner. */
export interface RunnerOptions {
  /** How long to wait for a connection, and for each reply, in ms. Default 30,000. */
  readonly replyTimeoutMs?: number | undefined;
  /** Whether `replyTimeoutMs` also limits statements in a caller's transaction. Default false. */
  readonly boundsJoined?: boolean;
  /** The pool to use. Default: that of the data source. */
  readonly pool?: PgPool;
  /** The transaction of statements that name no other one. Only for tests. */
  readonly manager?: EntityManager;
  /** Finds the transaction of the caller, as {@link ServiceOptions.currentManager}. */
  readonly currentManager?: CurrentManager | undefined;
}

/**
 * Returns the manager of the caller's transaction. If there is none: undefined, or a manager without a
 * transaction.
 */
export type CurrentManager = () => EntityManager | undefined;

/** The options of a service. */
export interface ServiceOptions {
  /** Keep plans by name. Default true, unless the environment says `DB_PREPARED_STATEMENTS=false`. */
  readonly preparedStatements?: boolean;
  /** How long to wait for a connection, and for the reply to a statement outside of `options.manager`, in ms. Default 30,000. */
  readonly replyTimeoutMs?: number;
  /**
   * The schemes that the URLs of videos and results may have, in lower case and without the colon.
   * Default https, http, s3, gs, file.
   */
  readonly urlSchemes?: readonly string[];
  /** A class whose `class-validator` rules the parameters of new jobs must meet. Default none. */
  readonly jobParameters?: new () => object;
  /** Finds the transaction that a call joins if it names no `manager`. Default none. */
  readonly currentManager?: CurrentManager;
  /** @internal Runs the statements in another way. */
  readonly runner?: SqlRunner;
}

/**
 * Runs statements on a pool, each in a separate transaction under READ COMMITTED, or in a caller's transaction. It
 * turns the errors of the driver into errors of this package.
 */
export class SqlRunner {
  private readonly statements = new WeakMap<(tables: Tables) => Statement, Statement>();
  /** How long to wait for a connection, and for each reply, in ms. */
  readonly replyTimeoutMs: number;
  private tables?: Tables;

  /**
   * @param dataSource - whose tables, logger and, unless `options` says otherwise, pools are used
   * @param prepared - whether plans are kept by name; false for PgBouncer before 1.21 in
   *   transaction mode, which gives the next statement another connection
   */
  constructor(
    readonly dataSource: DataSource,
    private readonly prepared: boolean,
    private readonly options: RunnerOptions = {},
  ) {
    this.replyTimeoutMs = options.replyTimeoutMs ?? DEFAULT_REPLY_TIMEOUT_MS;
  }

  /**
   * Checks the last argument of a method. An unknown option is refused, because a misspelt `manager` would commit
   * writes that the caller may roll back. A call that names no manager and wants no replica gets the manager of the
   * caller's current transaction.
   */
  readOptions(operation: string, options: unknown): TransactionOptions;
  readOptions<T extends ReadOptions>(
    operation: string,
    options: unknown,
    optionsClass: new () => T,
  ): T;
  readOptions(
    operation: string,
    options: unknown = {},
    optionsClass: new () => ReadOptions = TransactionOptions,
  ): ReadOptions {
    const tx = readInput(operation, optionsClass, options, { path: 'options' });
    if (tx.manager !== undefined || tx.replica === true) return tx;
    const manager = this.options.currentManager?.();
    return manager?.queryRunner === undefined ? tx : { ...tx, manager };
  }

  /**
   * Runs one statement.
   *
   * @param operation - the method that sends the statement, for the message of an error
   * @param make - writes the statement, once for this data source's tables
   * @param options - `manager`, or for a statement that only reads `replica`
   */
  async run<Row>(
    operation: string,
    make: (tables: Tables) => Statement,
    values: readonly unknown[],
    { manager = this.options.manager, replica }: ReadOptions = {},
  ): Promise<Row[]> {
    const statement = this.statementOf(make);
    const joined = manager === undefined ? undefined : this.queryRunnerOf(operation, manager);
    if (joined === undefined) return this.runAlone(operation, statement, values, replica === true);
    if (replica === true) {
      const message = 'cannot go together with manager, whose transaction is on the primary';
      throw new InvalidInputError(operation, [{ property: 'options.replica', message }]);
    }
    return this.runIn(operation, joined, statement, values);
  }

  /**
   * Runs a statement in a separate transaction. If the kept plan of the connection was lost, or does not fit a changed
   * table, this replaces the connection and runs the statement once more.
   */
  private async runAlone<Row>(
    operation: string,
    statement: Statement,
    values: readonly unknown[],
    replica: boolean,
  ): Promise<Row[]> {
    for (let keepPlan = this.prepared; ; keepPlan = false) {
      const sending: Sending = { operation, statement, values, keepPlan, wasSent: false };
      const client = await this.connect(operation, replica);
      try {
        const rows = await this.sendAlone<Row>(client, sending);
        giveBack(client, false);
        return rows;
      } catch (error) {
        const planIsGone = hasLostPlans(error) || hasStalePlan(error);
        giveBack(client, planIsGone || !isAnswer(error));
        if (!planIsGone || !keepPlan) throw fromDriver(error, operation, sending.wasSent);
      }
    }
  }

  private connect(operation: string, replica: boolean): Promise<PgClient> {
    const { dataSource, options, replyTimeoutMs } = this;
    if (options.pool === undefined) refuseWhileClosing(dataSource, operation);
    const [primary, ...replicas] = poolsOf(dataSource);
    const other = replica ? replicas[Math.floor(Math.random() * replicas.length)] : undefined;
    const pool = options.pool ?? other ?? primary;
    if (pool === undefined) {
      const cause = new Error('the data source is closed');
      throw new DatabaseUnavailableError(operation, { cause });
    }
    return checkOut(operation, pool, dataSource, replyTimeoutMs);
  }

  private async sendAlone<Row>(client: PgClient, sending: Sending): Promise<Row[]> {
    const { replyTimeoutMs } = this;
    const session = await sessionOf(client, replyTimeoutMs);
    if (!session.isStrict && writesIso(session)) {
      return this.send<Row>(client, session, sending, replyTimeoutMs);
    }
    return this.between(client, BEGIN, () =>
      this.send<Row>(client, session, sending, replyTimeoutMs),
    );
  }

  private async between<T>(client: PgClient, begin: string, work: () => Promise<T>): Promise<T> {
    const { replyTimeoutMs } = this;
    await reply(client, { text: begin }, replyTimeoutMs);
    try {
      const result = await work();
      await reply(client, { text: 'COMMIT' }, replyTimeoutMs);
      return result;
    } catch (error) {
      if (isAnswer(error)) await reply(client, { text: 'ROLLBACK' }, replyTimeoutMs);
      throw error;
    }
  }

  /**
   * Runs a few statements in one short transaction under READ COMMITTED. Each statement sees what was committed before
   * it. If this process stalls in the middle, the server ends the transaction.
   *
   * @param work - may be called once more if the kept plan of a connection was lost
   */
  async transaction<T>(operation: string, work: (run: Run) => Promise<T>): Promise<T> {
    const { replyTimeoutMs } = this;
    if (this.options.manager !== undefined) {
      return work((make, values) => this.run(operation, make, values));
    }
    for (let keepPlan = this.prepared; ; keepPlan = false) {
      let wasSent = false;
      const client = await this.connect(operation, false);
      try {
        const session = await sessionOf(client, replyTimeoutMs);
        const result = await this.between(client, BEGIN_SHORT, () =>
          work(async (make, values) => {
            const statement = this.statementOf(make);
            const sending = { operation, statement, values, keepPlan, wasSent };
            wasSent ||= statement.writes;
            return this.send(client, session, sending, replyTimeoutMs);
          }),
        );
        giveBack(client, false);
        return result;
      } catch (error) {
        const planIsGone = hasLostPlans(error) || hasStalePlan(error);
        giveBack(client, planIsGone || !isAnswer(error));
        if (!planIsGone || !keepPlan) throw fromDriver(error, operation, wasSent);
      }
    }
  }

  /** Runs a statement in a caller's transaction. */
  private async runIn<Row>(
    operation: string,
    queryRunner: QueryRunner,
    statement: Statement,
    values: readonly unknown[],
  ): Promise<Row[]> {
    const sending: Sending = {
      operation,
      statement,
      values,
      keepPlan: this.prepared,
      wasSent: false,
      queryRunner,
    };
    const timeoutMs = this.options.boundsJoined === true ? this.replyTimeoutMs : undefined;
    let client: PgClient | undefined;
    try {
      const joined = (client = (await queryRunner.connect()) as PgClient);
      const session = await sessionOf(joined, timeoutMs);
      if (writesIso(session)) return await this.send<Row>(joined, session, sending, timeoutMs);
      return await inTurn(joined, async () => {
        const { dateStyle } = session;
        await reply(joined, setDateStyle('ISO'), timeoutMs);
        const rows = await this.send<Row>(joined, session, sending, timeoutMs);
        await reply(joined, setDateStyle(dateStyle), timeoutMs);
        return rows;
      });
    } catch (error) {
      // A rollback would wait for the same silent server.
      if (client !== undefined && isUnanswered(error)) cutOff(client);
      throw fromDriver(error, operation);
    }
  }

  private async send<Row>(
    client: PgClient,
    session: Session,
    sending: Sending,
    timeoutMs?: number,
  ): Promise<Row[]> {
    const { logger, options } = this.dataSource;
    const { statement, values, queryRunner } = sending;
    const { name, text, secret } = statement;
    const shown = secret === undefined ? [...values] : values.with(secret - 1, '[hidden]');
    const keepPlan = sending.keepPlan && session.keepsPlans;
    logger.logQuery(text, shown, queryRunner);
    const start = performance.now();
    try {
      sending.wasSent = statement.writes;
      const query = {
        name: keepPlan ? name : undefined,
        text,
        values: sendsBinary(client) ? toBinary(values, statement.arrays) : values,
        types: resultTypes,
      };
      const { rows } = await reply(client, query, timeoutMs);
      const elapsed = Math.round(performance.now() - start);
      const slow = options.maxQueryExecutionTime;
      if (slow !== undefined && slow > 0 && elapsed > slow) {
        logger.logQuerySlow(elapsed, text, shown, queryRunner);
      }
      return rows;
    } catch (error) {
      if (hasLostPlans(error) || hasStalePlan(error)) session.keepsPlans = false;
      hideRow(error);
      logger.logQueryError(error as Error, text, shown, queryRunner);
      throw error;
    }
  }

  private statementOf(make: (tables: Tables) => Statement): Statement {
    this.tables ??= tablesOf(this.dataSource);
    const statement = this.statements.get(make) ?? make(this.tables);
    this.statements.set(make, statement);
    return statement;
  }

  /**
   * Returns the connection of a manager's transaction; undefined for the data source's own manager, which is in no
   * transaction. A manager that cannot be joined is refused. Otherwise a write would be committed although the caller
   * rolls back.
   */
  private queryRunnerOf(operation: string, manager: EntityManager): QueryRunner | undefined {
    const refuse = (message: string): never => {
      throw new InvalidInputError(operation, [{ property: 'options.manager', message }]);
    };
    if (dataSourceOf(manager) !== this.dataSource) {
      refuse('must belong to the same data source as the service');
    }
    if (manager.queryRunner?.isReleased === true) {
      if (manager.queryRunner.isTransactionActive) {
        const cause = new Error('the connection of the transaction broke');
        throw new DatabaseUnavailableError(operation, { cause });
      }
      refuse('must belong to an open transaction, and this one has ended');
    }
    return manager.queryRunner;
  }
}

/** The settings hold only for the transaction, because a pooler may give the session to another client. */
const BEGIN = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL datestyle = 'ISO'`;
const BEGIN_SHORT = `${BEGIN}; SET LOCAL idle_in_transaction_session_timeout = '10s'`;

/** Runs one statement of a transaction. */
export type Run = <Row>(
  make: (tables: Tables) => Statement,
  values: readonly unknown[],
) => Promise<Row[]>;

/** A statement that is being sent or has been sent. */
interface Sending {
  readonly operation: string;
  readonly statement: Statement;
  readonly values: readonly unknown[];
  readonly keepPlan: boolean;
  readonly queryRunner?: QueryRunner;
  /** Whether it was sent, and may have written something. */
  wasSent: boolean;
}

const setDateStyle = (style: string): { text: string; values: string[] } => ({
  text: `SELECT set_config('datestyle', $1, true)`,
  values: [style],
});

const turns = new WeakMap<PgClient, Promise<unknown>>();

/** Runs several statements of one connection, one after the other. */
function inTurn<T>(client: PgClient, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(client) ?? Promise.resolve()).then(work, work);
  turns.set(client, turn);
  return turn;
}
