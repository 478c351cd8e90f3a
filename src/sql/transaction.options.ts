import type { EntityManager } from 'typeorm';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import { CheckedBy } from '../input/input.js';

/** The option that most methods take last. */
export class TransactionOptions {
  /**
   * Makes the call part of this manager's transaction; without it the call is one of its own. A key that
   * is there and undefined is refused: it would commit what the caller may mean to roll back.
   */
  @CheckedBy(
    {
      name: 'manager',
      message:
        'must be an EntityManager of TypeORM; leave it out for a call that is a transaction of its own',
      // It comes from no request.
      openApi: undefined,
      // Not instanceof: libraries that carry transactions hand out proxies.
      accepts: (value) =>
        typeof value === 'object' &&
        value !== null &&
        dataSourceOf(value as EntityManager) !== undefined,
    },
    'omittable',
  )
  manager?: EntityManager;
}

/** The option that reading methods take last. */
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
