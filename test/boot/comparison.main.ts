// npm run compare:boot: counts how many boots fail when replicas start together, with plain TypeORM and with this
// package. It uses the server of TEST_DATABASE_URL, or an embedded one. The exit code is 1 if a boot with this package
// failed.
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { compareBoots, tableOf } from './comparison.js';

const REPLICAS = 8;
const ROUNDS = 10;

const server =
  process.env['TEST_DATABASE_URL'] === undefined ? await startEmbeddedPostgres() : undefined;
if (server !== undefined) process.env['TEST_DATABASE_URL'] = server.url;
try {
  const comparison = await compareBoots(REPLICAS, ROUNDS);
  process.stdout.write(`${tableOf(comparison)}\n`);
  if (comparison.figures.ours.failed > 0) process.exitCode = 1;
} finally {
  await server?.stop();
}
