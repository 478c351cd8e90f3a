type Close = () => Promise<void>;

/** What is open in this test file, in the order in which it was opened. */
const open = new Set<Close>();

/** Has something closed at the end of the test file, unless it is closed before. */
export function closeAtEndOfFile(close: Close): void {
  open.add(close);
}

/** It is closed. */
export function isClosed(close: Close): void {
  open.delete(close);
}

/** Closes all that is open, the last that was opened first. */
export async function closeAll(): Promise<void> {
  const errors: unknown[] = [];
  for (const close of [...open].toReversed()) {
    await close().catch((error: unknown) => errors.push(error));
  }
  if (errors.length > 0) throw new AggregateError(errors, errors.map(String).join('\n'));
}

/**
 * Calls {@link closeAll} at the end of the test file, where the runner has a hook for that: Jest, and
 * Vitest with `globals: true`, and `node --test`. It must be called while the file is being read, because
 * a hook cannot be added once tests have started.
 */
export function hookEndOfFile(): void {
  const { afterAll } = globalThis as { afterAll?: (close: Close, timeoutMs: number) => void };
  if (afterAll !== undefined) afterAll(closeAll, 60_000);
  else if (process.env['NODE_TEST_CONTEXT'] !== undefined) {
    process.getBuiltinModule('node:test').after(closeAll);
  }
}
