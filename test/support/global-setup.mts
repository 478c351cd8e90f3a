import { existsSync, statfsSync } from 'node:fs';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';

const MEMORY_DISK = '/dev/shm';
const ENOUGH_BYTES = 2 * 1024 ** 3;

/** Once a run: starts the server that all test files share, unless TEST_DATABASE_URL names one. */
export default async function setup(): Promise<void> {
  if (process.env['TEST_DATABASE_URL'] !== undefined) return;
  const { TMPDIR } = process.env;
  if (hasMemoryDisk()) process.env['TMPDIR'] = MEMORY_DISK;
  const server = await startEmbeddedPostgres();
  if (TMPDIR === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = TMPDIR;
  process.env['TEST_DATABASE_URL'] = server.url;
  Object.assign(globalThis, {
    stopTestServer: async () => {
      delete process.env['TEST_DATABASE_URL'];
      await server.stop();
    },
  });
}

/** A new database is some 300 files: 25 ms in memory, up to 200 ms on a disk. */
function hasMemoryDisk(): boolean {
  if (!existsSync(MEMORY_DISK)) return false;
  const { bavail, bsize } = statfsSync(MEMORY_DISK);
  return bavail * bsize >= ENOUGH_BYTES;
}
