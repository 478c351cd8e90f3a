import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, Optional } from '@nestjs/common';
import * as terminus from '@nestjs/terminus';
import type { HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { getDataSourceToken } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { migrationStatus } from '../migrations/migration.status.js';
import { JobStatistics } from '../statistics/job.statistics.js';
import { poolsOf } from '../peers/typeorm.internals.js';
import { ConfigurationError, DatabaseUnavailableError } from '../errors.js';
import { fromDriver } from '../errors.driver.js';

// An application on Nest 10 may have an older terminus. Nest's own error would only say that something is undefined.
if (typeof terminus.HealthIndicatorService !== 'function') {
  throw new ConfigurationError(
    '@frameforge/shared-types/health needs @nestjs/terminus 11 or later, which runs on NestJS 10 ' +
      'too. Run: npm install @nestjs/terminus@11.',
  );
}

/** The options of `isHealthy`. */
export interface DatabaseHealthOptions {
  /** The data source to ask; the application's default one if left out. */
  readonly dataSource?: DataSource;
  /** How long the database may take to answer, in ms, the wait for a free connection included. Default 3,000. */
  readonly timeoutMs?: number;
  /** Whether the result has the figures of the queues from `JobStatistics`. They never make it "down". Default false. */
  readonly queues?: boolean;
}

/** How much of a data source's pools is in use. */
export interface PoolUse {
  /** How many connections the pools may have. */
  readonly max: number;
  /** How many connections are open, idle ones too. */
  readonly open: number;
  /** How many open connections are idle. */
  readonly idle: number;
  /** How many calls wait for a connection. */
  readonly waiting: number;
}

/**
 * Tells `@nestjs/terminus` whether the database answers, how much of the pool is in use, and which migrations are
 * pending (null if the role may not read that). Pending migrations do not make it "down", because then a rolling
 * deployment would never start.
 *
 * Provide it in a module that imports `TerminusModule`, and in the controller:
 *
 * @example health.check([() => this.database.isHealthy('database')])
 */
@Injectable()
export class FrameForgeHealthIndicator {
  constructor(
    @Inject(terminus.HealthIndicatorService) private readonly health: HealthIndicatorService,
    @Optional() @Inject(getDataSourceToken()) private readonly dataSource?: DataSource,
  ) {}

  /**
   * Asks the database once.
   *
   * @param key - the name of the result
   * @returns up or down with `pool` and `pendingMigrations`; it names no host, since health is often public
   * @throws ConfigurationError if there is no default data source and none is given
   */
  async isHealthy<const Key extends string>(
    key: Key,
    { dataSource = this.dataSource, timeoutMs = 3_000, queues = false }: DatabaseHealthOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    if (dataSource === undefined) {
      throw new ConfigurationError(
        'FrameForgeHealthIndicator found no default data source: give isHealthy a `dataSource`.',
      );
    }
    const check = this.health.check(key);
    try {
      const pendingMigrations = await answerWithin(timeoutMs, pendingOn(dataSource));
      const more = queues
        ? { queues: await answerWithin(timeoutMs, queuesOf(dataSource)) }
        : undefined;
      return check.up({ pool: poolUse(dataSource), pendingMigrations, ...more });
    } catch (error) {
      if (!(fromDriver(error, 'The check') instanceof DatabaseUnavailableError)) throw error;
      const message = 'The database does not answer.';
      return check.down({ message, pool: poolUse(dataSource) });
    }
  }
}

async function pendingOn(dataSource: DataSource): Promise<readonly string[] | null> {
  try {
    return (await migrationStatus(dataSource)).pending;
  } catch (error) {
    // The database answered, but this role may not read the table of migrations.
    if ((error as { code?: string }).code === '42501') return null;
    throw error;
  }
}

async function answerWithin<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: over.signal }).then(() => {
    throw new DatabaseUnavailableError('The check', {
      cause: new Error(`no answer within ${timeoutMs} ms`),
    });
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    over.abort();
    // The caller has its answer already, so a later error is ignored.
    await Promise.allSettled([late]);
  }
}

/** What waits in the queues, and since when. */
async function queuesOf(dataSource: DataSource): Promise<object> {
  const statistics = new JobStatistics(dataSource);
  const { due: jobs, lost } = await statistics.jobFigures();
  const { due: notifications } = await statistics.notificationFigures();
  return { jobs, lost, notifications };
}

function poolUse(dataSource: DataSource): PoolUse {
  const pools = poolsOf(dataSource);
  const sum = (count: (pool: (typeof pools)[number]) => number): number =>
    pools.reduce((total, pool) => total + count(pool), 0);
  return {
    max: sum(({ options }) => options.max),
    open: sum(({ totalCount }) => totalCount),
    idle: sum(({ idleCount }) => idleCount),
    waiting: sum(({ waitingCount }) => waitingCount),
  };
}
