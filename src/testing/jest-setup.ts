import { TestSession } from './test.session.js';

let session: Promise<TestSession> | undefined;

/**
 * Name this as Jest's `globalSetup` and `globalTeardown`, or as a `globalSetup` of Vitest. It starts
 * the server before the first test file, so that no test waits for it, and after the last one removes
 * all that it started. In watch mode the server stays from one run to the next.
 *
 * @param jest - Jest's configuration, which tells whether it watches
 * @param project - Jest's too; no other runner gives a second argument
 * @returns the teardown, for Vitest
 */
export default async function setUpOrTearDown(
  jest?: { readonly watch?: boolean; readonly watchAll?: boolean },
  project?: object,
): Promise<() => Promise<void>> {
  const watching = jest?.watch === true || jest?.watchAll === true;
  // Jest's second call is the teardown, except when it watches: then it calls at each run.
  if (session !== undefined && project !== undefined && !watching) await tearDown();
  else await (session ??= TestSession.open(true));
  return tearDown;
}

async function tearDown(): Promise<void> {
  const ending = session;
  session = undefined;
  await (await ending)?.end();
}
