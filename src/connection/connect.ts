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

/** A wait between two tries, in ms: twice as long each time, up to the second. */
const [FIRST_BACKOFF_MS, LAST_BACKOFF_MS] = [100, 5_000];

/** How often, in ms, it is told that the same thing is still being waited for. */
const LOG_MS = 5_000;

/**
 * Opens a data source, waiting for a database that is not up yet.
 *
 * @param prepare - what to do before it is open; tried again with the connecting
 * @throws ConfigurationError if the address is none, or the database refuses the login; at once
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
      // From the first failure: a migration that ran for an hour before it has used up nothing.
      deadline ??= performance.now() + connectRetryMs;
      const waitMs = backoffMs * (0.5 + Math.random() / 2);
      if (!healsSoon(error) || performance.now() + waitMs >= deadline) throw error;
      logWait(clauseOf(error.cause));
      await sleep(waitMs);
    }
  }
}

/** One try; it leaves nothing open when it fails. */
async function open(
  dataSource: DataSource,
  prepare: (dataSource: DataSource) => Promise<void>,
  logWait: (reason: string) => void,
): Promise<DataSource> {
  // One that refuses is told of after each try; one that is silent would go untold.
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

/** Logs what the boot waits for: at once, and again when the reason changes or some time has passed. */
function waitLogger(server: string, logger: BootLogger): (reason: string) => void {
  let last = { reason: '', at: 0 };
  return (reason) => {
    if (reason === last.reason && performance.now() - last.at < LOG_MS) return;
    last = { reason, at: performance.now() };
    logger.warn(`Waiting for the database ${server}: ${reason}.`);
  };
}
