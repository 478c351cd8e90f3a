/** Removes an item from a list of those that are at work; no Set, for what `docs/performance.md` says. */
export function remove<T>(items: T[], item: T): void {
  const index = items.indexOf(item);
  if (index !== -1) items.splice(index, 1);
}
