import { startEmbeddedPostgres } from '../../src/embedded/index.js';

/** Once a run: starts the server that all test files share, unless TEST_DATABASE_URL names one. */
export default async function setup(): Promise<void> {
  if (process.env['TEST_DATABASE_URL'] !== undefined) return;
  const server = await startEmbeddedPostgres();
  process.env['TEST_DATABASE_URL'] = server.url;
  Object.assign(globalThis, {
    stopTestServer: async () => {
      delete process.env['TEST_DATABASE_URL'];
      await server.stop();
    },
  });
}
