import type { EntityManager } from 'typeorm';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import { CheckedBy } from '../input/input.js';

/** The last argument of most methods. */
export class TransactionOptions {
  /**
   * Makes the call part of this manager's transaction. Without it the call is a separate transaction. A key that
   * is present but undefined is refused: the call would commit, although the caller may mean to roll back.
   */
  @CheckedBy(
    {
      name: 'manager',
      message:
        'must be an EntityManager of TypeORM; leave it out for a call that is a transaction of its own',
      // A manager never comes from a request.
      openApi: undefined,
      // This does not use instanceof, because libraries for transactions return proxies.
      accepts: (value) =>
        typeof value === 'object' &&
        value !== null &&
        dataSourceOf(value as EntityManager) !== undefined,
    },
    'omittable',
  )
  manager?: EntityManager;
}

/** The last argument of methods that read. */
export class ReadOptions extends TransactionOptions {
  /**
   * Reads from one of the replicas of the `replication` option, which may be a moment behind; from
   * the primary if there are none. Not together with `manager`. Default false.
   */
  @CheckedBy(
    {
      name: 'replica',
      message: 'must be true or false',
      openApi: { type: () => Boolean },
      accepts: (value) => typeof value === 'boolean',
    },
    'optional',
  )
  replica?: boolean;
}
