import { run } from '../../src/cli/cli.commands.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { makers } from '../jobs/fixtures.js';

let h: Harness;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
beforeEach(() => h.dataSource.query('DELETE FROM video_jobs'));
afterAll(() => h.close());

async function cli(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const written = { out: '', err: '' };
  const { DATABASE_URL } = process.env;
  process.env['DATABASE_URL'] = h.url;
  try {
    const code = await run(args, {
      out: (line) => void (written.out += `${line}\n`),
      err: (line) => void (written.err += `${line}\n`),
    });
    return { code, ...written };
  } finally {
    if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = DATABASE_URL;
  }
}

const says = (out: string) => ({ code: 0, out, err: '' });
const status = async ({ jobId }: { jobId: string }): Promise<string> =>
  (await h.jobs.getJob(jobId)).status;

it('retry counts first, and retries with --yes', async () => {
  const [a, b] = [await make.failed(), await make.failed()];
  await h.dataSource.query(
    `UPDATE video_jobs SET "createdAt" = now() - interval '2 days', "completedAt" = now() - interval '1 day'
     WHERE "jobId" = $1`,
    [a.jobId],
  );
  expect(await cli('retry', '--error', 'NO VIDEO')).toEqual(
    says('2 failed jobs would be retried. Nothing was changed: run this again with --yes.\n'),
  );
  expect(await status(a)).toBe('failed');
  const old = ['--created-before', '36h', '--ended-from', '2d', '--ended-before', '1h'];
  expect(await cli('retry', ...old, '--limit', '5', '--yes')).toEqual(
    says('1 failed jobs will be retried.\n1 were retried.\n'),
  );
  expect([await status(a), await status(b)]).toEqual(['pending', 'failed']);
  expect(await cli('retry', '--user', a.userId, '--yes')).toEqual(
    says('Nothing to do: no failed jobs match.\n'),
  );
});

it('cancel cancels, for a reason', async () => {
  const [pending, leased] = [await make.pending(), await make.leased()];
  expect((await cli('cancel')).out).toMatch(/^2 pending and processing jobs would be cancelled/);
  await cli('cancel', '--status', 'processing', '--reason', 'the disk is full', '--yes');
  expect([await status(pending), await status(leased)]).toEqual(['pending', 'failed']);
  expect(await h.jobs.getJob(leased.jobId)).toMatchObject({
    errorMessage: 'The job was cancelled: the disk is full',
  });
});

it('redeliver puts failed notifications back', async () => {
  const { jobId } = await make.completed();
  const { notifications } = await h.notifications.listNotifications({ jobId });
  await h.notifications.markFailed(notifications[0]!, { errorMessage: '421' });
  const command = ['redeliver', '--job', jobId, '--error', '421', '--created-from', '2020-01-31'];
  expect((await cli(...command)).out).toMatch(/^1 failed notifications would be put back/);
  expect((await cli(...command, '--yes')).out).toMatch(/1 were put back for delivery\.\n$/);
  const { notifications: after } = await h.notifications.listNotifications({ jobId });
  expect(after).toMatchObject([{ deliveryStatus: 'pending' }]);
});

it('prune removes what ended long ago', async () => {
  const [completed, failed] = [await make.completed(), await make.failed()];
  await h.dataSource.query(`UPDATE notification_log SET "deliveryStatus" = 'sent'`);
  await h.dataSource.query(
    `UPDATE video_jobs SET "createdAt" = now() - interval '9 days', "completedAt" = now() - interval '8 days'`,
  );
  expect((await cli('prune', '--older-than', '9d')).out).toBe(
    'Nothing to do: no completed and failed jobs match.\n',
  );
  expect((await cli('prune', '--older-than', '7d')).out).toMatch(/^2 completed and failed jobs/);
  expect((await cli('prune', '--older-than', '7d', '--status', 'completed', '--yes')).out).toMatch(
    /1 were removed\.\n$/,
  );
  await expect(status(completed)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  expect(await status(failed)).toBe('failed');
});

it.each([
  [['prune'], 'prune needs --older-than'],
  [['prune', '--older-than', 'tomorrow'], "--older-than is 'tomorrow': give a time"],
  [['prune', '--older-than', '30'], "--older-than is '30': give a time"],
  [['retry', '--limit', '0'], "--limit is '0': give a whole number"],
  [['retry', '--reason', 'x'], '--reason is for cancel'],
  [['migrate', '--user', 'x'], '--user is for retry, cancel, redeliver'],
  [['status', '--yes'], '--yes is for adopt'],
  [['cancel', '--time-zone', 'UTC'], '--time-zone is for adopt'],
])('a command line that is wrong: %p', async (args, message) => {
  const { code, out, err } = await cli(...args);
  expect({ code, out }).toEqual({ code: 2, out: '' });
  expect(err).toContain(`frameforge-db: ${message}`);
});

it('prints what the services refuse', async () => {
  const { code, err } = await cli('retry', '--user', 'me');
  expect(code).toBe(1);
  expect(err).toContain('userId must be a UUID');
});
