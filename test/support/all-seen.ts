/** How often a property is tried at the most, until all of its cases have come up. */
const ROUNDS = 6;

/**
 * Tries a property with random cases again until each case has come up. A case that has not come up is not
 * tested. A rare one may be missing in one round, but hardly in six.
 *
 * @param cases - the names of all cases
 * @param seen - how often each case has come up; `round` counts
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
