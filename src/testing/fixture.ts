import type { DataSource, EntityManager } from 'typeorm';

/** Something to test with: valid, unlike any other, and not in the database yet. */
export interface Fixture<Values, Entity> {
  /** What was given, and defaults for the rest. */
  readonly values: Values;
  /**
   * Writes it, and what it depends on: all in one transaction, or in that of the manager.
   *
   * @returns the row as it is then
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
