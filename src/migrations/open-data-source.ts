import type { DataSource } from 'typeorm';
import type { PostgresOptions } from '../peers/typeorm.internals.js';
import type { BootLogger } from '../connection/boot.logger.js';
import { connect } from '../connection/connect.js';
import type { BootOptions } from '../database.options.js';
import { bringUpToDate } from './migrate.js';

/**
 * Opens a data source and brings its schema up to date. Waits if the database is not up yet. Any number of
 * replicas may do this at once, on any state of the database.
 *
 * @throws ConfigurationError at once, if the database refuses the login
 * @throws DatabaseUnavailableError if it could not be reached within `connectRetryMs`
 * @throws MigrationError at once, if a migration fails, or if the schema must be current and is not
 */
export function openDataSource(
  options: PostgresOptions,
  boot: BootOptions,
  logger: BootLogger,
): Promise<DataSource> {
  return connect(options, boot, logger, (dataSource) => bringUpToDate(dataSource, boot, logger));
}
