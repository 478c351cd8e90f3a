import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import type { PostgresOptions } from '../peers/typeorm.internals.js';
import type { BootOptions } from '../database.options.js';
import { fromDriver } from '../errors.driver.js';
import { clauseOf } from '../errors.text.js';
import type { BootLogger } from './boot.logger.js';
import { DrainingDataSource } from './draining.data-source.js';
import { healsSoon } from './healing.js';
import { closeHalfOpen } from './pools.js';
import { requireAddress, serverName } from './server-name.js';

/** The first and the longest wait between two tries, in ms. Each wait is twice as long as the one before. */
const [FIRST_BACKOFF_MS, LAST_BACKOFF_MS] = [100, 5_000];

/** How often, in ms, the same wait is logged again. */
const LOG_MS = 5_000;

/**
 * Opens a data source. Waits if the database is not up yet.
 *
 * @param prepare - is called before the data source counts as open, in each try
 * @throws ConfigurationError at once, if the address is not valid, or the database refuses the login
 * @throws DatabaseUnavailableError if it could not be reached within `connectRetryMs`
 */
export async function connect(
  options: PostgresOptions,
  { connectRetryMs, shutdownTimeoutMs }: Pick<BootOptions, 'connectRetryMs' | 'shutdownTimeoutMs'>,
  logger: BootLogger,
  prepare: (dataSource: DataSource) => Promise<void> = async () => {},
): Promise<DataSource> {
  requireAddress(options);
  const server = serverName(options);
  const logWait = waitLogger(server, logger);
  const warn = (message: string): void => logger.warn(message);
  let deadline: number | undefined;
  for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(backoffMs * 2, LAST_BACKOFF_MS)) {
    try {
      const dataSource = new DrainingDataSource(options, shutdownTimeoutMs, warn);
      return await open(dataSource, prepare, logWait);
    } catch (cause) {
      const error = fromDriver(cause, `Booting on ${server}`);
      // The time counts from the first failure. A migration that ran for an hour before it does not count.
      deadline ??= performance.now() + connectRetryMs;
      const waitMs = backoffMs * (0.5 + Math.random() / 2);
      if (!healsSoon(error) || performance.now() + waitMs >= deadline) throw error;
      logWait(clauseOf(error.cause));
      await sleep(waitMs);
    }
  }
}

/** Makes one try. If it fails, it leaves no connection open. */
async function open(
  dataSource: DataSource,
  prepare: (dataSource: DataSource) => Promise<void>,
  logWait: (reason: string) => void,
): Promise<DataSource> {
  // A server that refuses is logged after each try. This timer logs a server that does not answer.
  const timer = setInterval(() => logWait('it has not answered yet'), LOG_MS);
  try {
    await dataSource.initialize();
    clearInterval(timer);
    await prepare(dataSource);
    return dataSource;
  } catch (error) {
    clearInterval(timer);
    if (dataSource.isInitialized) await dataSource.destroy();
    else await closeHalfOpen(dataSource);
    throw error;
  }
}

/** Logs why the boot waits: at once, and again when the reason changes or some time has passed. */
function waitLogger(server: string, logger: BootLogger): (reason: string) => void {
  let last = { reason: '', at: 0 };
  return (reason) => {
    if (reason === last.reason && performance.now() - last.at < LOG_MS) return;
    last = { reason, at: performance.now() };
    logger.warn(`Waiting for the database ${server}: ${reason}.`);
  };
}
