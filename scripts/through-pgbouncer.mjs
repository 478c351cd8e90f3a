// node --import ./test/support/typescript.mjs scripts/through-pgbouncer.mjs <command...>
//
// Runs a command with TEST_DATABASE_URL naming a PgBouncer in transaction mode before a throw-away
// PostgreSQL, which TEST_ADMIN_URL names. Both end with this process.
import { existsSync, statfsSync } from 'node:fs';
import { startEmbeddedPostgres } from '../src/embedded/index.js';
import { startPgBouncer } from '../test/support/pgbouncer.js';
import { run } from './tally.mjs';

// The pooler keeps connections for each database, and the tests have many databases.
const CONNECTIONS = 100;
const MEMORY_DISK = '/dev/shm';
const ENOUGH_BYTES = 2 * 1024 ** 3;

const { TMPDIR } = process.env;
if (hasMemoryDisk()) process.env.TMPDIR = MEMORY_DISK;
const server = await startEmbeddedPostgres({ settings: { max_connections: 4 * CONNECTIONS } });
if (TMPDIR === undefined) delete process.env.TMPDIR;
else process.env.TMPDIR = TMPDIR;
try {
  const pooler = await startPgBouncer(server.url, { default_pool_size: CONNECTIONS });
  try {
    const env = {
      TEST_DATABASE_URL: pooler.url,
      TEST_ADMIN_URL: server.url,
      // Debian's PgBouncer is older than 1.21.
      DB_PREPARED_STATEMENTS: 'false',
    };
    const { code } = await run(process.argv.slice(2), { env });
    process.exitCode = code ?? 1;
  } finally {
    await pooler.stop();
  }
} finally {
  await server.stop();
}

/** A new database is some 300 files: 25 ms in memory, up to 200 ms on a disk. */
function hasMemoryDisk() {
  if (!existsSync(MEMORY_DISK)) return false;
  const { bavail, bsize } = statfsSync(MEMORY_DISK);
  return bavail * bsize >= ENOUGH_BYTES;
}
