// npm run compare:boot: how many boots fail when replicas start together, of plain TypeORM and of
// this package, on the server of TEST_DATABASE_URL or else an embedded one. Ends with code 1 if any
// of this package's did.
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
