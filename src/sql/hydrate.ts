/**
 * Makes an entity from a row, by a list of columns. Columns and properties have equal names.
 *
 * @param prefix - what stands before the names in the row
 */
export function hydrate<T extends object>(
  entityClass: new () => T,
  names: readonly (keyof T & string)[],
  row: Record<string, unknown>,
  prefix = '',
): T {
  const entity = new entityClass();
  for (const name of names) (entity as Record<string, unknown>)[name] = row[prefix + name];
  return entity;
}
