type Close = () => Promise<void>;

/** Everything that is open in this test file, in the order in which it was opened. */
const open = new Set<Close>();

/** Closes something at the end of the test file, unless it is closed before. */
export function closeAtEndOfFile(close: Close): void {
  open.add(close);
}

/** Forgets something that is closed already. */
export function isClosed(close: Close): void {
  open.delete(close);
}

/** Closes everything that is open, in the reverse order of opening. */
export async function closeAll(): Promise<void> {
  const errors: unknown[] = [];
  for (const close of [...open].toReversed()) {
    await close().catch((error: unknown) => errors.push(error));
  }
  if (errors.length > 0) throw new AggregateError(errors, errors.map(String).join('\n'));
}

/**
 * Calls {@link closeAll} at the end of the test file, if the test runner has a hook for that: Jest, Vitest with
 * `globals: true`, and `node --test`. It must be called while the runner reads the file, because hooks cannot be
 * added after the tests have started.
 */
export function hookEndOfFile(): void {
  const { afterAll } = globalThis as { afterAll?: (close: Close, timeoutMs: number) => void };
  if (afterAll !== undefined) afterAll(closeAll, 60_000);
  else if (process.env['NODE_TEST_CONTEXT'] !== undefined) {
    process.getBuiltinModule('node:test').after(closeAll);
  }
}
