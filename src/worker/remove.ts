/** Removes an item from a list of running items. It is not a Set, for the reason in `docs/performance.md`. */
export function remove<T>(items: T[], item: T): void {
  const index = items.indexOf(item);
  if (index !== -1) items.splice(index, 1);
}
