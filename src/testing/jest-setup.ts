import { currentRun, TestSession } from './test.session.js';

let session: Promise<TestSession> | undefined;

/**
 * Starts the server that all test files share, before the first test file, and removes it after the last one.
 * Name this module as Jest's `globalSetup` and `globalTeardown`, or as a `globalSetup` of Vitest. For
 * other runners, call it once before they start the processes of the test files. In watch mode the
 * server stays from one run to the next. The migrations run again in each run, because they may read files.
 *
 * @param runner - Jest's configuration, or Vitest's project
 * @param project - Jest's project; no other runner gives a second argument
 * @returns the teardown, for Vitest and for other runners
 * @throws ConfigurationError, DatabaseUnavailableError if there is no server to test on
 */
export default async function setUpOrTearDown(
  runner?: {
    readonly watch?: boolean;
    readonly watchAll?: boolean;
    onTestsRerun?(prepare: () => Promise<void>): void;
  },
  project?: object,
): Promise<() => Promise<void>> {
  const watching = runner?.watch === true || runner?.watchAll === true;
  if (session !== undefined) {
    // Jest's second call is the teardown. In watch mode, Jest calls at each run.
    await (project !== undefined && !watching ? tearDown() : removeTemplates());
  } else if (currentRun() === undefined) {
    await setUp();
    runner?.onTestsRerun?.(removeTemplates);
  }
  return tearDown;
}

async function setUp(): Promise<void> {
  try {
    session = TestSession.open();
    // The watch mode of `node --test` does not call before each run, so the templates could not be removed.
    const isWatching = process.execArgv.some((option) => option.startsWith('--watch'));
    (await session).share(!isWatching);
  } catch (error) {
    session = undefined;
    throw error;
  }
}

async function removeTemplates(): Promise<void> {
  await (await session)?.removeDatabases();
}

/** The setup for `node --test --test-global-setup` of Node 24 and later, with {@link globalTeardown}. */
export async function globalSetup(): Promise<void> {
  await setUpOrTearDown();
}

/** Removes everything that {@link globalSetup} started. */
export const globalTeardown = (): Promise<void> => tearDown();

async function tearDown(): Promise<void> {
  const ending = session;
  session = undefined;
  await (await ending)?.close();
}
