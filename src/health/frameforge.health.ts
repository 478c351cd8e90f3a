import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { HealthIndicatorService } from '@nestjs/terminus';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { getDataSourceToken } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { migrationStatus } from '../connection/migration-status.js';
import type { MigrationStatus } from '../connection/migration-status.js';
import { poolsOf } from '../connection/pools.js';
import { fromDriver, reasonOf } from '../errors.js';

/** What a health check looks at. */
export interface HealthOptions {
  /** The name of the data source; the default one if left out. */
  readonly dataSource?: string;
  /** How long the database may take to answer, in ms. Default 1,000. */
  readonly timeoutMs?: number;
}

/** How many connections of a pool are open, in use and waited for. */
export interface PoolUse {
  readonly max: number;
  readonly open: number;
  readonly used: number;
  readonly waiting: number;
}

/**
 * Tells `@nestjs/terminus` how the database is: `up`, or `degraded` while migrations of this release
 * are pending, or `down` with the reason; and how the pool is used, which is what a `down` by timeout
 * often comes from. One round trip.
 *
 * @example
 * // providers: [FrameForgeHealthIndicator], in a module that imports TerminusModule
 * this.health.check([() => this.database.check('database')]);
 */
@Injectable()
export class FrameForgeHealthIndicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly modules: ModuleRef,
  ) {}

  /**
   * Asks the database. Never rejects because of it.
   *
   * @param key - the name under which the result is shown
   */
  async check<const Key extends string>(
    key: Key,
    { dataSource: name, timeoutMs = 1_000 }: HealthOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    const dataSource = this.modules.get<DataSource>(getDataSourceToken(name), { strict: false });
    const indicator = this.indicators.check(key);
    try {
      const { pending } = await within(timeoutMs, statusOf(dataSource));
      const found = { ...useOf(dataSource), pendingMigrations: pending };
      if (pending.length === 0) return indicator.up(found);
      const message = 'Migrations of this release are pending: npx frameforge-db migrate';
      return indicator.degraded({ message, ...found });
    } catch (error) {
      const message = reasonOf(fromDriver(error, 'The health check'));
      return indicator.down({ message, ...useOf(dataSource) });
    }
  }
}

// async, so that a data source that is closing rejects like any other failure.
async function statusOf(dataSource: DataSource): Promise<MigrationStatus> {
  return migrationStatus(dataSource);
}

function useOf(dataSource: DataSource): { pool?: PoolUse; replicas?: PoolUse[] } {
  const [pool, ...replicas] = poolsOf(dataSource).map(
    ({ options, totalCount, idleCount, waitingCount }) => ({
      max: options.max,
      open: totalCount,
      used: totalCount - idleCount,
      waiting: waitingCount,
    }),
  );
  return { pool, ...(replicas.length > 0 ? { replicas } : {}) };
}

async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, reject) => {
    const error = new Error(`The database did not answer within ${timeoutMs} ms`);
    timer = setTimeout(() => reject(error), timeoutMs);
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}
