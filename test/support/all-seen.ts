/** How often a property is tried at most until all of its cases have occurred. */
const ROUNDS = 6;

/**
 * Tries a property with random cases again until each case has occurred. A case that has not occurred is not tested. A
 * rare case may be missing in one round, but hardly in six rounds.
 *
 * @param cases - the names of all cases
 * @param seen - how often each case has occurred; `round` counts
 * @param round - tries the property with some hundred inputs
 */
export async function untilAllSeen(
  cases: readonly string[],
  seen: ReadonlyMap<string, number>,
  round: () => Promise<void>,
): Promise<void> {
  const missing = (): string[] => cases.filter((name) => (seen.get(name) ?? 0) === 0);
  for (let rounds = 0; rounds === 0 || (missing().length > 0 && rounds < ROUNDS); rounds += 1) {
    await round();
  }
  expect(missing()).toEqual([]);
}
