import type { DataSource, EntityManager } from 'typeorm';

/** Valid and unique values for a test, which are not in the database yet. */
export interface Fixture<Values, Entity> {
  /** The given values, and defaults for all others. */
  readonly values: Values;
  /**
   * Writes the row and the rows that it needs, in one transaction, or in the manager's transaction.
   *
   * @returns the row as it is in the database
   */
  persist(db: DataSource | EntityManager): Promise<Entity>;
}

export function fixture<Values extends object, Entity>(
  defaults: Values,
  given: Partial<Values>,
  write: (manager: EntityManager, values: Values) => Promise<Entity>,
): Fixture<Values, Entity> {
  const chosen = Object.entries(given).filter(([, value]) => value !== undefined);
  const values = { ...defaults, ...Object.fromEntries(chosen) };
  return {
    values,
    persist: (db) =>
      ('manager' in db ? db.manager : db).transaction((manager) => write(manager, values)),
  };
}
