import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { dataSourceOf, subscribe } from '../peers/typeorm.internals.js';

/** The callbacks that wait for the end of the transaction of a query runner. */
const waiting = new WeakMap<QueryRunner, (() => void)[]>();
const watched = new WeakSet<DataSource>();

/**
 * Calls back when the writes of a manager are visible to others: at the commit of its transaction, or at once if there
 * is no transaction. It never calls back if the transaction is rolled back.
 */
export function afterCommit(manager: EntityManager | undefined, callback: () => void): void {
  const queryRunner = manager?.queryRunner;
  if (queryRunner?.isTransactionActive !== true) return callback();
  watch(dataSourceOf(queryRunner));
  const callbacks = waiting.get(queryRunner) ?? [];
  callbacks.push(callback);
  waiting.set(queryRunner, callbacks);
}

/** A subscriber that sees the end of each transaction of a data source. A released savepoint is not an end. */
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
