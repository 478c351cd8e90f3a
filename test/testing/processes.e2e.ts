import { chownSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import type { EmbeddedPostgres } from '../../src/embedded/index.js';
import { canEnter } from '../../src/embedded/server.account.js';
import { query } from '../support/query.js';
import { childrenOf, expectSoon, TestPlace } from './test.run.js';
import type { Told } from './test.run.js';

let place: TestPlace;
beforeEach(() => {
  place = new TestPlace();
});
afterEach(() => place.remove());

const portsOf = (all: Pick<Told, 'url'>[]): Set<string> =>
  new Set(all.map(({ url }) => new URL(url).port));
const nameOf = ({ url }: Told): string => new URL(url).pathname.slice(1);
const homeOf = ({ directory }: Told): string => dirname(dirname(directory));
const isGone = (url: string): Promise<void> =>
  expect(query(url, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });

/** Runs a process that makes a database and drops it. */
async function runOnce(): Promise<Told> {
  const tester = place.start('tester', ['drop']);
  const told = await tester.told();
  expect(await tester.ended()).toBe(0);
  return told;
}

describe('the embedded server', () => {
  it('is one for all processes that start at once, and gone after the last, however they end', async () => {
    const testers = [1, 2, 3].map(() => place.start('tester', ['wait']));
    const all = await Promise.all(testers.map((tester) => tester.told()));
    expect(portsOf(all).size).toBe(1);
    expect(new Set(all.map(({ url }) => url)).size).toBe(3);
    expect(all.filter(({ migrated }) => migrated)).toHaveLength(1);
    const [a, b, c] = testers;
    await a?.kill('SIGKILL');
    await b?.kill('SIGINT');
    expect(await query(String(all[2]?.url), 'TABLE video_jobs')).toEqual([]);
    await c?.kill('SIGTERM');
    await place.expectNothingLeft();
  });

  it('outlives the process that started it, for the others', async () => {
    const first = place.start('tester', ['wait']);
    const started = await first.told();
    const second = place.start('tester', ['wait']);
    const joined = await second.told();
    await first.kill();
    expect(await query(joined.url, 'TABLE users')).toEqual([]);
    const late = await runOnce();
    expect(portsOf([started, joined, late]).size).toBe(1);
    await expect(query(late.url, 'SELECT 1')).rejects.toMatchObject({ code: '3D000' });
    // The database of the process that was killed went when the next one came.
    await expect(query(started.url, 'SELECT 1')).rejects.toMatchObject({ code: '3D000' });
  });

  it('keeps no process from ending that forgets to drop its database', async () => {
    const tester = place.start('tester', ['forget']);
    await tester.told();
    expect(await tester.ended()).toBe(0);
    await place.expectNothingLeft();
  });

  it('goes on from worker to worker, and ends with the runner, whatever its workers do', async () => {
    const runner = place.start('runner', ['drop', 'forget', 'wait']);
    const all = [await runner.told(), await runner.told(), await runner.told()];
    expect(portsOf(all).size).toBe(1);
    await runner.kill();
    await expectSoon(() => isGone(String(all[2]?.url)));
    process.kill(Number(all[2]?.pid), 'SIGKILL');
    await place.expectNothingLeft();
  });

  const NOBODY = { uid: 65534, gid: 65534 };
  const mayRun =
    process.geteuid?.() === 0 &&
    [process.execPath, fileURLToPath(import.meta.url)].every((it) => canEnter(dirname(it), NOBODY));

  (mayRun ? it : it.skip)('is one for each user (tried by root and nobody)', async () => {
    const root = place.start('tester', ['wait']);
    const ofRoot = await root.told();
    const nobody = place.start('tester', ['wait'], {}, NOBODY);
    const ofNobody = await nobody.told();
    expect(portsOf([ofRoot, ofNobody]).size).toBe(2);
    expect(statSync(homeOf(ofRoot)).uid).toBe(0);
    expect(statSync(homeOf(ofNobody)).uid).toBe(NOBODY.uid);
    await Promise.all([root.kill(), nobody.kill()]);
    await place.expectNothingLeft();
  });

  (mayRun ? it : it.skip)(
    'needs a user with a name, and says so (tried by uid 54321)',
    async () => {
      const account = { uid: 54321, gid: 54321 };
      const complaint = await place.start('tester', ['drop'], {}, account).complaint();
      expect(complaint).toMatch(/add this one to \/etc\/passwd\..*TEST_DATABASE_URL/);
      await place.expectNothingLeft();
    },
  );

  it('is gone when the teardown of Jest returns, and one for all workers before', async () => {
    const runner = place.start('runner', ['setup', 'drop', 'forget', 'teardown']);
    const all = [await runner.told(), await runner.told()];
    expect(portsOf(all).size).toBe(1);
    expect(await runner.ended()).toBe(0);
    expect(place.files()).toEqual([]);
  });
});

describe('after a run', () => {
  it('of which even the guardian was killed, the next one removes what is left', async () => {
    const crashed = place.start('tester', ['wait']);
    const left = await crashed.told();
    const status = readFileSync(`/proc/${left.postgres}/status`, 'utf8');
    process.kill(Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]), 'SIGKILL');
    await crashed.kill();
    expect(await query(left.url, 'SELECT 1 AS orphan')).toEqual([{ orphan: 1 }]);

    expect(portsOf([left, await runOnce()]).size).toBe(2);
    await isGone(left.url);
    await place.expectNothingLeft();
  });

  it('that was killed while it started the server, the next one starts it', async () => {
    const crashed = place.start('tester', ['wait']);
    await expectSoon(() => expect(place.processes()).not.toEqual([]));
    await crashed.kill();
    await runOnce();
    await place.expectNothingLeft();
  });

  it('that was killed with the lock, the next one takes it', async () => {
    const home = homeOf(await runOnce());
    await place.expectNothingLeft();
    const gone = place.start('tester', ['forget']);
    await gone.kill();
    mkdirSync(home);
    writeFileSync(join(home, 'starting'), String(gone.pid));
    await runOnce();
    await place.expectNothingLeft();
  });
});

describe('a directory that cannot be used', () => {
  it('is refused when its name is too long for a socket', async () => {
    const TMPDIR = join(place.directory, 'x'.repeat(100));
    mkdirSync(TMPDIR, { mode: 0o755 });
    const complaint = await place.start('tester', ['drop'], { TMPDIR }).complaint();
    expect(complaint).toMatch(/Set TMPDIR to a directory with a shorter name.*TEST_DATABASE_URL/);
    rmSync(TMPDIR, { recursive: true });
  });

  const asRoot = process.geteuid?.() === 0 ? it : it.skip;

  asRoot('is refused when another user was there first (tried by root)', async () => {
    const home = homeOf(await runOnce());
    await place.expectNothingLeft();
    mkdirSync(home);
    chownSync(home, 65534, 65534);
    const complaint = await place.start('tester', ['drop']).complaint();
    expect(complaint).toContain(`${home} is not a directory of this user: remove it`);
    rmSync(home, { recursive: true });
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
  const TEMPLATE = /^frameforge_template_[0-9a-f]{16}$/;

  it('loses the databases of a process that is killed', async () => {
    const killed = place.start('tester', ['wait'], env());
    const alive = place.start('tester', ['wait'], env());
    const [gone, kept] = [await killed.told(), await alive.told()].map(nameOf);
    await killed.kill();
    await expectSoon(async () => expect(await databases()).not.toContain(gone));
    expect(await databases()).toContain(kept);
    // What is left of a whole run without a setup: a template, for the next run.
    await alive.kill('SIGINT');
    await expectSoon(async () => {
      const left = (await databases()).filter((name) => !OWN.includes(String(name)));
      expect(left).toEqual([expect.stringMatching(TEMPLATE)]);
    });
  });

  it('loses all of a run with a setup that is killed', async () => {
    const runner = place.start('runner', ['setup', 'drop', 'wait'], env());
    const [, waiting] = [await runner.told(), await runner.told()];
    await runner.kill();
    expect(await databases()).toContain(nameOf(waiting));
    process.kill(waiting.pid, 'SIGKILL');
    await expectSoon(async () => expect(await databases()).toEqual(OWN));
  });

  it('has the databases of the living only, even when sweepers were killed', async () => {
    const killed = place.start('tester', ['wait'], env());
    const alive = place.start('tester', ['wait'], env());
    const [gone, kept] = [await killed.told(), await alive.told()].map(nameOf);
    const sweepers = childrenOf(killed.pid);
    expect(sweepers).toHaveLength(1);
    for (const pid of sweepers) process.kill(pid, 'SIGKILL');
    await killed.kill();
    expect(await databases()).toContain(gone);
    const next = place.start('tester', ['drop'], env());
    await next.told();
    await next.ended();
    const now = await databases();
    expect(now).toContain(kept);
    expect(now).not.toContain(gone);
    await alive.kill();
  });

  it('has nothing of a run after the teardown of Jest', async () => {
    const runner = place.start('runner', ['setup', 'drop', 'teardown'], env());
    await runner.told();
    expect(await runner.ended()).toBe(0);
    expect(await databases()).toEqual(OWN);
    expect(place.files()).toEqual([]);
  });

  it('keeps one template without a setup, which the next set of migrations replaces', async () => {
    for (const count of [0, 1]) {
      const tester = place.start('tester', ['drop', `schema_${count}`], env());
      await tester.told();
      await tester.ended();
    }
    const [template, ...others] = (await databases()).filter((name) => !OWN.includes(String(name)));
    expect(template).toMatch(TEMPLATE);
    expect(others).toEqual([]);
  });
});
