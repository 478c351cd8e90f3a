import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import type { EmbeddedPostgres } from '../../src/embedded/index.js';
import { canEnter } from '../../src/embedded/server.account.js';
import { query } from '../support/query.js';
import { expectSoon, TestPlace } from './test.run.js';
import type { Told } from './test.run.js';

let place: TestPlace;
beforeEach(() => {
  place = new TestPlace();
});
afterEach(() => place.remove());

const portsOf = (all: Pick<Told, 'url'>[]): Set<string> =>
  new Set(all.map(({ url }) => new URL(url).port));
const nameOf = ({ url }: Told): string => new URL(url).pathname.slice(1);
const isGone = (url: string): Promise<void> =>
  expect(query(url, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });

const NOBODY = { uid: 65534, gid: 65534 };
const mayRunAsNobody =
  process.geteuid?.() === 0 &&
  [process.execPath, fileURLToPath(import.meta.url)].every((it) => canEnter(dirname(it), NOBODY));

describe('without a setup, the embedded server', () => {
  it('is one for each process, and ends with the process, however that ends', async () => {
    const testers = [1, 2, 3].map(() => place.start('tester', ['wait']));
    const all = await Promise.all(testers.map((tester) => tester.told()));
    expect(portsOf(all).size).toBe(3);
    const [a, b, c] = testers;
    await a?.kill('SIGKILL');
    await b?.kill('SIGINT');
    expect(await query(String(all[2]?.url), 'TABLE video_jobs')).toEqual([]);
    await c?.kill('SIGTERM');
    await place.expectNothingLeft();
  });

  it('does not keep a process alive that forgets to drop its database', async () => {
    const tester = place.start('tester', ['forget']);
    await tester.told();
    expect(await tester.ended()).toBe(0);
    await place.expectNothingLeft();
  });

  (mayRunAsNobody ? it : it.skip)(
    'needs a user with a name, and says so (tried by uid 54321)',
    async () => {
      const account = { uid: 54321, gid: 54321 };
      const complaint = await place.start('tester', ['drop'], {}, account).complaint();
      expect(complaint).toMatch(/add this user to it\..*TEST_DATABASE_URL/);
      await place.expectNothingLeft();
    },
  );
});

describe('with a setup, the embedded server', () => {
  it('is one for all processes, is migrated once, and has ended when the teardown returns', async () => {
    const runner = place.start('runner', ['setup', 'drop', 'forget', 'teardown']);
    const all = [await runner.told(), await runner.told()];
    expect(portsOf(all).size).toBe(1);
    expect(all.map(({ migrated }) => migrated)).toEqual([true, false]);
    expect(await runner.ended()).toBe(0);
    expect(place.files()).toEqual([]);
  });

  it('ends with the runner, also if its workers go on', async () => {
    const runner = place.start('runner', ['setup', 'drop', 'wait']);
    const [, waiting] = [await runner.told(), await runner.told()];
    await runner.kill();
    await expectSoon(() => isGone(waiting.url));
    process.kill(waiting.pid, 'SIGKILL');
    await place.expectNothingLeft();
  });

  it('stays for all runs in watch mode, and is migrated again in each', async () => {
    const runner = place.start('runner', ['setup', 'drop', 'again', 'drop', 'drop', 'teardown']);
    const all = [await runner.told(), await runner.told(), await runner.told()];
    expect(portsOf(all).size).toBe(1);
    expect(all.map(({ migrated }) => migrated)).toEqual([true, true, false]);
    expect(await runner.ended()).toBe(0);
    expect(place.files()).toEqual([]);
  });
});

describe('after a run', () => {
  it('whose guardian was killed too, the next run removes the server and its files', async () => {
    const crashed = place.start('tester', ['wait']);
    const left = await crashed.told();
    const status = readFileSync(`/proc/${left.postgres}/status`, 'utf8');
    process.kill(Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]), 'SIGKILL');
    await crashed.kill();
    expect(await query(left.url, 'SELECT 1 AS orphan')).toEqual([{ orphan: 1 }]);

    const next = place.start('tester', ['drop']);
    await next.told();
    expect(await next.ended()).toBe(0);
    await isGone(left.url);
    await place.expectNothingLeft();
  });
});

describe('the server of TEST_DATABASE_URL', () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => {
    server = await startEmbeddedPostgres();
  });
  afterAll(() => server.stop());

  const env = (): NodeJS.ProcessEnv => ({ TEST_DATABASE_URL: server.url });
  const databases = async (): Promise<unknown[]> => {
    const rows = await query(server.url, 'SELECT datname FROM pg_database ORDER BY datname');
    return rows.map(({ datname }) => datname);
  };
  const OWN = ['frameforge', 'postgres', 'template0', 'template1'];

  /** Runs a test. Its start removes the databases of runs that were killed. */
  async function runOnce(): Promise<void> {
    const runner = place.start('runner', ['setup', 'drop', 'teardown'], env());
    await runner.told();
    expect(await runner.ended()).toBe(0);
  }

  it('has no database of a run after its teardown', async () => {
    await runOnce();
    expect(await databases()).toEqual(OWN);
    expect(place.files()).toEqual([]);
  });

  it('loses the databases of a killed process when the next one starts', async () => {
    const killed = place.start('tester', ['wait'], env());
    const alive = place.start('tester', ['wait'], env());
    const [gone, kept] = [await killed.told(), await alive.told()].map(nameOf);
    await killed.kill();
    await runOnce();
    const now = await databases();
    expect(now).not.toContain(gone);
    expect(now).toContain(kept);
    await alive.kill('SIGINT');
    await runOnce();
    expect(await databases()).toEqual(OWN);
  });

  it('loses the databases of a killed run with a setup when the next one starts', async () => {
    const runner = place.start('runner', ['setup', 'drop', 'wait'], env());
    const [, waiting] = [await runner.told(), await runner.told()];
    await runner.kill();
    process.kill(waiting.pid, 'SIGKILL');
    expect(await databases()).toContain(nameOf(waiting));
    await runOnce();
    expect(await databases()).toEqual(OWN);
  });

  it('keeps each database that this package has not made, whatever its name is', async () => {
    const names = [
      'frameforge_template_0123456789abcdef',
      'frameforge_test_0123456789ab_1',
      'frameforge_test_0123456789ab_template_0123456789abcdef',
      'frameforge_test_staging',
    ];
    for (const name of names) await query(server.url, `CREATE DATABASE ${name}`);
    await query(server.url, `COMMENT ON DATABASE frameforge_test_staging IS 'of the test servers'`);
    await runOnce();
    expect(await databases()).toEqual([...OWN, ...names].toSorted());
    for (const name of names) await query(server.url, `DROP DATABASE ${name}`);
  });
});
