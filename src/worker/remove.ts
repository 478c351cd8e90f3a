/**
 * Removes an item from a list of those that are at work. Such a list is no Set and no Map: V8 links each
 * table that one of those has outgrown to the next. Once such a table is among the old objects, all that
 * passes through the later ones survives until the next full garbage collection: a tenth of all that a
 * worker allocates.
 */
export function remove<T>(items: T[], item: T): void {
  const index = items.indexOf(item);
  if (index !== -1) items.splice(index, 1);
}
