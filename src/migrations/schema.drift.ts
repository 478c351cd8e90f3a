import type { DataSource } from 'typeorm';
import { differencesOf } from './schema.difference.js';
import type { Difference } from './schema.difference.js';
import { expressionDrift } from './expression.drift.js';

/**
 * Finds the differences between the database and the entities. Changes nothing: it rolls back everything that
 * it tries. It ignores tables that no entity names.
 */
export async function schemaDrift(dataSource: DataSource): Promise<Difference[]> {
  const { upQueries, downQueries } = await dataSource.driver.createSchemaBuilder().log();
  const differences = differencesOf(
    upQueries.map(({ query }) => query),
    downQueries.map(({ query }) => query),
  );
  const queryRunner = dataSource.createQueryRunner('master');
  try {
    await queryRunner.startTransaction();
    for (const entity of dataSource.entityMetadatas) {
      if (entity.synchronize) differences.push(...(await expressionDrift(queryRunner, entity)));
    }
  } finally {
    if (queryRunner.isTransactionActive) await queryRunner.rollbackTransaction().catch(() => {});
    await queryRunner.release();
  }
  // Entities that share a table also share its indexes, so a difference may be found twice.
  return [...new Map(differences.map((difference) => [difference.what, difference])).values()];
}
