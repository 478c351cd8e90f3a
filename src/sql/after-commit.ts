import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { dataSourceOf, subscribe } from '../peers/typeorm.internals.js';

/** What waits for the end of a query runner's transaction. */
const waiting = new WeakMap<QueryRunner, (() => void)[]>();
const watched = new WeakSet<DataSource>();

/**
 * Calls back when what was written through a manager is visible to others: at the commit of its
 * transaction, never if that is rolled back, and at once if there is none.
 */
export function afterCommit(manager: EntityManager | undefined, callback: () => void): void {
  const queryRunner = manager?.queryRunner;
  if (queryRunner?.isTransactionActive !== true) return callback();
  watch(dataSourceOf(queryRunner));
  const callbacks = waiting.get(queryRunner) ?? [];
  callbacks.push(callback);
  waiting.set(queryRunner, callbacks);
}

/** Follows the ends of a data source's transactions. A released savepoint is not an end. */
function watch(dataSource: DataSource): void {
  if (watched.has(dataSource)) return;
  watched.add(dataSource);
  subscribe(dataSource, {
    afterTransactionCommit: ({ queryRunner }) => {
      if (queryRunner.isTransactionActive) return;
      const callbacks = waiting.get(queryRunner) ?? [];
      waiting.delete(queryRunner);
      for (const callback of callbacks) callback();
    },
    afterTransactionRollback: ({ queryRunner }) => {
      if (!queryRunner.isTransactionActive) waiting.delete(queryRunner);
    },
  });
}
