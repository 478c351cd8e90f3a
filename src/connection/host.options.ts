import type { DataSource } from 'typeorm';
import { misread } from '../database.url.js';
import { ConfigurationError } from '../errors.js';
import type { PostgresOptions } from '../peers/typeorm.internals.js';

/**
 * Refuses a data source of the application whose options TypeORM ignores or misreads, such as a schema in the URL:
 * the tables would be in another schema than the application believes.
 *
 * @throws ConfigurationError naming each such option, and the remedy
 */
export function requireNothingMisread({ options }: DataSource): void {
  const problems = misread(options as PostgresOptions);
  if (problems.length === 0) return;
  throw new ConfigurationError(
    `The data source that FrameForgeDatabaseModule is to use: ${problems.join('; ')}.`,
  );
}
