import { setTimeout as sleep } from 'node:timers/promises';
import type { OnApplicationShutdown } from '@nestjs/common';
import type { DataSourceOptions, QueryRunner, ReplicationMode } from 'typeorm';
import { DataSource } from 'typeorm';
import { DatabaseUnavailableError } from '../errors.js';
import { poolsOf } from '../peers/typeorm.internals.js';
import { abandonOpening, clientsInUse, endClient, isIdle, prepareDataSource } from './pools.js';
import { refuseStaleSaves } from './stale.saves.js';

/** The wait between two checks of the pools, in ms. `pg` has no event for "all connections are back". */
const LOOK_MS = 5;
/** How many times to check whether ended connections have come back. */
const MAX_LOOKS = 200;

/**
 * A data source that lets running statements and transactions finish before it closes. TypeORM's own data
 * source ends connections while statements run, and their callers cannot know whether they were done.
 */
export class DrainingDataSource extends DataSource {
  #closing?: Promise<void>;

  /**
   * @param drainMs - how long running statements and transactions may take to finish, after the close begins
   * @param warn - gets a message if they took longer and were ended
   */
  constructor(
    options: DataSourceOptions,
    private readonly drainMs: number,
    private readonly warn: (message: string) => void,
  ) {
    super(options);
    prepareDataSource(this);
  }

  override async initialize(): Promise<this> {
    await super.initialize();
    refuseStaleSaves(this);
    return this;
  }

  /** Refuses new work while it closes, because under load new work would never end. */
  override createQueryRunner(mode?: ReplicationMode): QueryRunner {
    if (this.isClosing) throw closing('A call that came while the application was closing');
    return super.createQueryRunner(mode);
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  override destroy(): Promise<void> {
    this.#closing ??= this.#drainAndDestroy().finally(() => {
      this.#closing = undefined;
    });
    return this.#closing;
  }

  async #drainAndDestroy(): Promise<void> {
    if (!(await drained(this, this.drainMs))) {
      const inUse = poolsOf(this).reduce((sum, pool) => sum + pool.totalCount - pool.idleCount, 0);
      this.warn(
        `${inUse} connections were still in use ${this.drainMs} ms after the application began to ` +
          `close, and are ended now. Nobody learns whether their statements were done.`,
      );
      await this.#endAll();
    }
    await super.destroy();
  }

  /**
   * Ends all connections, also those that are being opened, and those that waiting callers get meanwhile. Only
   * connections that their users never give back are left.
   */
  async #endAll(): Promise<void> {
    for (let looks = 0; looks < MAX_LOOKS && !poolsOf(this).every(isIdle); looks++) {
      for (const pool of poolsOf(this)) {
        for (const client of clientsInUse(pool)) void endClient(client);
        abandonOpening(pool);
      }
      await sleep(LOOK_MS);
    }
  }
}

const drains = new WeakMap<DataSource, Promise<boolean>>();

/**
 * Looks after a data source of the application: it refuses stale saves, and lets running statements finish before
 * the data source closes. `TypeOrmModule` closes it in `onApplicationShutdown`, too. But Nest first calls this hook
 * of the modules that use the data source.
 */
export class ConnectionDrain implements OnApplicationShutdown {
  /** @param drainMs - how long running statements may take to finish, in ms */
  constructor(
    private readonly dataSource: DataSource,
    private readonly drainMs: number,
  ) {
    prepareDataSource(dataSource);
    refuseStaleSaves(dataSource);
    drains.delete(dataSource);
  }

  async onApplicationShutdown(): Promise<void> {
    // A data source of this package waits by itself. Several modules may ask for the same data source.
    if (this.dataSource instanceof DrainingDataSource) return;
    const draining = drains.get(this.dataSource) ?? drained(this.dataSource, this.drainMs);
    drains.set(this.dataSource, draining);
    await draining;
  }
}

/**
 * Waits until no connection of the data source is in use.
 *
 * @param timeoutMs - how long to wait at most
 * @returns whether no connection is in use any more
 */
export async function drained(dataSource: DataSource, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!poolsOf(dataSource).every(isIdle)) {
    if (performance.now() >= deadline) return false;
    await sleep(LOOK_MS);
  }
  return true;
}

/** @throws DatabaseUnavailableError if the data source closes, because under load new work would never end */
export function refuseWhileClosing(dataSource: DataSource, operation: string): void {
  if (dataSource instanceof DrainingDataSource && dataSource.isClosing) throw closing(operation);
}

function closing(operation: string): DatabaseUnavailableError {
  return new DatabaseUnavailableError(operation, {
    cause: new Error('the data source is closing'),
  });
}
