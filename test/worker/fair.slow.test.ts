import { Client } from 'pg';
import { claimInTurn } from '../../src/jobs/fair.claiming.sql.js';
import { claimPending } from '../../src/jobs/job.claiming.sql.js';
import { tablesOf } from '../../src/schema/tables.js';
import { until } from '../support/until.js';
import { bootWorker } from './app.js';
import { Statements } from './statements.js';
import { World } from './world.js';

/** The claims of a worker in their order: each in turn or by age. */
class Claims extends Statements {
  readonly seen: ('turn' | 'age')[] = [];
  private readonly kinds: Map<string, 'turn' | 'age'>;

  constructor({ harness }: World) {
    super();
    const tables = tablesOf(harness.dataSource);
    this.kinds = new Map([
      [claimInTurn(tables).text, 'turn'],
      [claimPending(tables).text, 'age'],
    ]);
  }

  override logQuery(text: string): void {
    const kind = this.kinds.get(text);
    if (kind !== undefined) this.seen.push(kind);
  }

  /** How often the worker changed from turns to age, and how often back. */
  turnsToAge = (): number =>
    this.seen.filter((kind, n) => kind === 'age' && this.seen[n - 1] === 'turn').length;
}

let world: World;
let old: Client;
beforeEach(async () => {
  world = await World.open();
  old = new Client({ connectionString: world.harness.url });
  await old.connect();
});
afterEach(async () => {
  await old.end();
  await world.close();
});

/** Writes without triggers and checks of foreign keys, because these take most of the time of a large write. */
const write = (sql: string, parameters: unknown[] = []): Promise<unknown> =>
  world.harness.dataSource.transaction(async (manager) => {
    await manager.query('SET LOCAL session_replication_role = replica');
    await manager.query(sql, parameters);
  });

const backlog = (userId: string, count: number): Promise<unknown> =>
  write(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl", "availableAt")
     SELECT $1, 'a.mp4', 's3://videos/a.mp4', now() + i * interval '1 us' FROM generate_series(1, $2) i`,
    [userId, count],
  );

it('a worker in fair order claims by age during an old snapshot, tries again, and is fair when the snapshot has ended', async () => {
  const { dataSource, url } = world.harness;
  const [busy, other] = [await world.harness.user(), await world.harness.user()];
  // There are so many that on every machine a search past them takes several times as long as it may.
  await backlog(busy.userId, 400_000);
  await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await old.query('SELECT FROM video_jobs LIMIT 1');
  // The index entries of finished jobs stay in front of the user's jobs as long as a snapshot may see them.
  await write(
    `UPDATE video_jobs SET status = 'completed', "startedAt" = now(), "completedAt" = now(),
       "resultUrl" = 's3://frames/1.zip', "frameCount" = 3`,
  );
  for (const { userId } of [busy, other]) await backlog(userId, 20_000);
  const claims = new Claims(world);
  const app = await bootWorker(
    url,
    { database: { logger: claims, logging: ['query'] } },
    { order: 'fair', pollMs: 2 ** 30 },
  );
  try {
    await until(() => Promise.resolve(claims.turnsToAge() >= 2));
    // One search may be slow because the processor is busy, so the worker needs two slow searches in a row.
    const first = claims.seen.indexOf('age');
    expect(first).toBeGreaterThanOrEqual(2);
    const fromThen = claims.seen.slice(first);
    const byAge = fromThen.filter((kind) => kind === 'age').length;
    expect(byAge).toBeGreaterThan(fromThen.length / 2);

    await old.query('COMMIT');
    await dataSource.query('VACUUM video_jobs');
    await until(() => Promise.resolve(claims.seen.slice(-20).every((kind) => kind === 'turn')));
    const { pending } = await world.harness.jobs.countJobs();
    expect(pending).toBeGreaterThan(0);
  } finally {
    await app.close();
  }
});
