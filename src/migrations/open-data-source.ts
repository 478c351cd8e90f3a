import type { DataSource } from 'typeorm';
import type { PostgresOptions } from '../peers/typeorm.internals.js';
import type { BootLogger } from '../connection/boot.logger.js';
import { connect } from '../connection/connect.js';
import type { BootOptions } from '../database.options.js';
import { bringUpToDate } from './migrate.js';

/**
 * Opens a data source, waiting for a database that is not up yet, and brings its schema up to date.
 * Any number of replicas may do this at once, on any state of the database.
 *
 * @throws ConfigurationError if the database refuses the login; at once
 * @throws DatabaseUnavailableError if it could not be reached within `connectRetryMs`
 * @throws MigrationError if a migration fails, or the schema is not current and must be; at once
 */
export function openDataSource(
  options: PostgresOptions,
  boot: BootOptions,
  logger: BootLogger,
): Promise<DataSource> {
  return connect(options, boot, logger, (dataSource) => bringUpToDate(dataSource, boot, logger));
}
