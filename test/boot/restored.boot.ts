import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { run } from '../../src/cli/cli.commands.js';
import { JobService } from '../../src/jobs/job.service.js';
import { User } from '../../src/schema/entities/index.js';
import { Boot, bootOnce } from '../connection/boot.js';
import { OwnServer } from '../support/own-server.js';
import { query } from '../support/query.js';

// This uses Debian's PostgreSQL, because it has pg_dump and pg_restore. The PostgreSQL from npm has neither.
const POSTGRES = '/usr/lib/postgresql/15';
const execute = promisify(execFile);

let server: OwnServer;
let directory: string;
beforeAll(async () => {
  server = await OwnServer.start(POSTGRES);
  directory = mkdtempSync(join(tmpdir(), 'frameforge-dump-'));
}, 60_000);
afterAll(async () => {
  await server.remove();
  rmSync(directory, { recursive: true });
});

const databaseOf = (name: string): string => {
  const url = new URL(server.url);
  url.pathname = name;
  return url.href;
};

async function check(url: string): Promise<{ code: number; lines: string[] }> {
  const { DATABASE_URL } = process.env;
  process.env['DATABASE_URL'] = url;
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  try {
    return { code: await run(['check'], { out: write, err: write }), lines };
  } finally {
    if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = DATABASE_URL;
  }
}

it.each([undefined, 'frameforge'])(
  'a database with the schema %s is the same after a dump and a restore, and after another one',
  async (schema) => {
    const names = ['first', 'second', 'third'].map((name) => `${name}_${schema ?? 'default'}`);
    for (const name of names) await query(server.url, `CREATE DATABASE ${name}`);
    const [first = '', ...copies] = names.map(databaseOf);
    const dataSource = await new Boot().open({ url: first, schema });
    const users = dataSource.getRepository(User);
    const { userId } = await users.save(
      users.create({ username: 'ann', email: 'ann@example.com', passwordHash: 'x' }),
    );
    const job = await new JobService(dataSource).createJob({
      userId,
      filename: 'a.mp4',
      videoUrl: 's3://b/a',
    });
    await dataSource.destroy();
    let from = first;
    for (const to of copies) {
      const file = join(directory, `${new URL(to).pathname}.dump`);
      await execute(`${POSTGRES}/bin/pg_dump`, ['-Fc', '-f', file, from]);
      await execute(`${POSTGRES}/bin/pg_restore`, ['-e', '-d', to, file]);
      const url = new URL(to);
      if (schema !== undefined) url.searchParams.set('schema', schema);
      expect(await check(url.href)).toEqual({
        code: 0,
        lines: ['The schema agrees with the entities, and no migration is pending.'],
      });
      expect(await bootOnce({ url: to, schema, requireCurrentSchema: true })).toEqual([]);
      const restored = await new Boot().open({ url: to, schema });
      expect(await new JobService(restored).claimJobs()).toMatchObject([{ jobId: job.jobId }]);
      await restored.query(
        `UPDATE ${schema ?? 'public'}.video_jobs SET status = 'pending', "availableAt" = now()`,
      );
      await restored.destroy();
      from = to;
    }
  },
);
