// node --import ./test/support/typescript.mjs scripts/through-pgbouncer.mjs <command...>
//
// Runs a command with TEST_DATABASE_URL naming a PgBouncer in transaction mode before a throw-away
// PostgreSQL, which TEST_ADMIN_URL names. Both end with this process.
import { startEmbeddedPostgres } from '../src/embedded/index.js';
import { useMemoryDisk } from '../test/support/memory-disk.mjs';
import { startPgBouncer } from '../test/support/pgbouncer.js';
import { run } from './tally.mjs';

// The pooler keeps connections for each database, and the tests have many databases.
const CONNECTIONS = 100;

useMemoryDisk();
const server = await startEmbeddedPostgres({ settings: { max_connections: 4 * CONNECTIONS } });
try {
  const pooler = await startPgBouncer(server.url, { default_pool_size: CONNECTIONS });
  try {
    const env = {
      TEST_DATABASE_URL: pooler.url,
      TEST_ADMIN_URL: server.url,
      // The PgBouncer of Debian is older than 1.21, the first version that keeps prepared statements.
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
