import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import type { Pooler } from '../support/pgbouncer.js';
import { startPgBouncer } from '../support/pgbouncer.js';
import { query } from '../support/query.js';
import { createDatabase, onServer } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';
import type { Order, Replica } from './replica.js';
import { bootTogether, reasonsOf, startReplicas } from './replica.js';

const REPLICAS = 16;
const ROUNDS = 20;
const BEHIND_A_POOLER = { preparedStatements: false } as const;

let replicas: Replica[] = [];
let pooler: Pooler;
/** Tells where the server is. */
let place: TestDatabase;
beforeAll(async () => {
  place = await createDatabase();
  pooler = await startPgBouncer(onServer(place.url), { default_pool_size: 4 });
  replicas = await startReplicas(REPLICAS);
}, 120_000);
afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.stop()));
  await pooler?.stop();
  await place?.drop();
});

type Variant = Omit<Order, 'kind' | 'url'> & { readonly pooled?: boolean };

it.each<[string, Variant]>([
  ['directly', {}],
  ['with a pool of one connection', { poolSize: 1 }],
  ['with CREATE INDEX CONCURRENTLY among the migrations', { migrations: 'concurrently' }],
  ['through PgBouncer with a pool of four', { pooled: true, ...BEHIND_A_POOLER }],
  [
    'through PgBouncer, with a pool of one connection and CREATE INDEX CONCURRENTLY',
    { pooled: true, ...BEHIND_A_POOLER, poolSize: 1, migrations: 'concurrently' },
  ],
])(
  `${REPLICAS} replicas boot together on an empty database, ${ROUNDS} times: %s`,
  async (_name, { pooled = false, ...options }) => {
    const names = frameForgeMigrations.map(({ name }) => name);
    if (options.migrations === 'concurrently') names.push('IndexConcurrently1700000002500');
    const expected = names.toSorted(byTimestamp);
    for (let round = 0; round < ROUNDS; round++) {
      const database = await createDatabase();
      try {
        const url = pooled ? through(pooler, database.url) : database.url;
        const outcomes = await bootTogether(replicas, { kind: 'ours', url, ...options });
        expect(reasonsOf(outcomes)).toEqual([]);
        expect(outcomes).toHaveLength(REPLICAS);
        expect(await appliedIn(database.url)).toEqual(expected);
      } finally {
        await database.drop();
      }
    }
  },
  300_000,
);

const byTimestamp = (a: string, b: string): number => Number(a.slice(-13)) - Number(b.slice(-13));

/** The URL of the same database, through the pooler. */
function through({ url }: Pooler, databaseUrl: string): string {
  const pooled = new URL(url);
  pooled.pathname = new URL(databaseUrl).pathname;
  return pooled.href;
}

/** The applied migrations, in order. A migration that was applied twice is there twice. */
async function appliedIn(url: string): Promise<unknown[]> {
  const rows = await query(url, 'SELECT name FROM migrations ORDER BY id');
  return rows.map(({ name }) => name);
}
