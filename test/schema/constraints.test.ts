import { randomUUID } from 'node:crypto';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const insert = async (table: string, values: Record<string, unknown>): Promise<string> => {
  const names = Object.keys(values).map((name) => `"${name}"`);
  const [row] = (await h.dataSource.query(
    `INSERT INTO ${table} (${names}) VALUES (${names.map((_, i) => `$${i + 1}`)}) RETURNING *`,
    Object.values(values),
  )) as Record<string, string>[];
  return Object.values(row ?? {})[0] ?? '';
};
const user = (values: object = {}) => ({
  username: randomUUID(),
  email: `${randomUUID()}@example.com`,
  passwordHash: 'x',
  ...values,
});
const job = (values: object) => ({ filename: 'f', videoUrl: 's3://b/k', ...values });
const notification = (values: object) => ({
  notificationType: 'success',
  recipientEmail: 'a@example.com',
  ...values,
});

describe('users', () => {
  it.each([
    ['username', 'uq_users_username'],
    ['email', 'uq_users_email'],
  ])('keeps %s unique', async (column, constraint) => {
    const first = user();
    await insert('users', first);
    const second = user({ [column]: first[column as 'email'] });
    await expect(insert('users', second)).rejects.toMatchObject({ code: '23505', constraint });
    // Upper and lower case are different: the unique constraint compares the stored text.
    await insert('users', user({ username: 'Ada' }));
    await insert('users', user({ username: 'ada' }));
    await h.dataSource.query(`DELETE FROM users WHERE lower(username) = 'ada'`);
  });

  it.each([
    ['username', 50],
    ['email', 255],
    ['passwordHash', 255],
  ])('holds %s of up to %i characters, which are code points', async (column, length) => {
    await insert('users', user({ [column]: '🎬'.repeat(length) }));
    await expect(
      insert('users', user({ [column]: '🎬'.repeat(length + 1) })),
    ).rejects.toMatchObject({
      code: '22001',
    });
  });
});

describe('video_jobs', () => {
  it('accepts each status, and no other value', async () => {
    const userId = await insert('users', user());
    for (const status of ['pending', 'processing', 'completed', 'failed']) {
      await insert('video_jobs', job({ userId, status }));
    }
    for (const status of ['', 'PENDING', 'cancelled']) {
      await expect(insert('video_jobs', job({ userId, status }))).rejects.toMatchObject({
        code: '23514',
        constraint: 'chk_jobs_status',
      });
    }
  });

  it('needs a user who exists', async () => {
    await expect(insert('video_jobs', job({ userId: randomUUID() }))).rejects.toMatchObject({
      code: '23503',
      constraint: 'fk_video_jobs_user',
    });
  });

  it('is due at the millisecond of its creation', async () => {
    const userId = await insert('users', user());
    for (let i = 0; i < 20; i += 1) {
      const [row] = await h.dataSource.query(
        `WITH j AS (INSERT INTO video_jobs ("userId", filename, "videoUrl")
           VALUES ($1, 'f', 's3://b/k') RETURNING "availableAt")
         SELECT "availableAt" <= statement_timestamp() AS due FROM j`,
        [userId],
      );
      expect(row).toEqual({ due: true });
    }
  });
});

describe('notification_log', () => {
  let jobId: string;
  beforeEach(async () => {
    jobId = await insert('video_jobs', job({ userId: await insert('users', user()) }));
  });

  it('accepts each type and delivery status, and no other value', async () => {
    for (const notificationType of ['success', 'failure']) {
      for (const deliveryStatus of ['pending', 'sent', 'failed']) {
        await insert('notification_log', notification({ jobId, notificationType, deliveryStatus }));
      }
    }
    await expect(
      insert('notification_log', notification({ jobId, notificationType: 'completed' })),
    ).rejects.toMatchObject({ code: '23514', constraint: 'chk_notifications_type' });
    await expect(
      insert('notification_log', notification({ jobId, deliveryStatus: 'delivered' })),
    ).rejects.toMatchObject({ code: '23514', constraint: 'chk_notifications_delivery_status' });
  });

  it('needs a job that exists', async () => {
    await expect(
      insert('notification_log', notification({ jobId: randomUUID() })),
    ).rejects.toMatchObject({ code: '23503', constraint: 'fk_notification_log_job' });
  });

  it('accepts one row for each run, and any number of rows without a run', async () => {
    await insert('notification_log', notification({ jobId, runNumber: 1 }));
    await insert('notification_log', notification({ jobId, runNumber: 2 }));
    await insert('notification_log', notification({ jobId }));
    await insert('notification_log', notification({ jobId }));
    await expect(
      insert('notification_log', notification({ jobId, runNumber: 1 })),
    ).rejects.toMatchObject({ code: '23505', constraint: 'uq_notifications_job_run' });
  });
});

it.each([
  ['users', 'username email passwordHash'],
  ['video_jobs', 'userId filename videoUrl'],
  ['notification_log', 'jobId notificationType recipientEmail'],
])('%s needs exactly %s', async (table, required) => {
  const userId = await insert('users', user());
  const jobId = await insert('video_jobs', job({ userId }));
  const values: Record<string, unknown> = {
    users: user(),
    video_jobs: job({ userId }),
    notification_log: notification({ jobId }),
  }[table] as object as Record<string, unknown>;
  for (const column of required.split(' ')) {
    const { [column]: _, ...rest } = values;
    await expect(insert(table, rest)).rejects.toMatchObject({ code: '23502', column });
  }
  expect(Object.keys(values).toSorted()).toEqual(required.split(' ').toSorted());
  await insert(table, values);
});

it('deletes a user with all that is theirs, and nothing else', async () => {
  const count = async (): Promise<unknown> => {
    const [row] = await h.dataSource.query(`SELECT
      (SELECT count(*)::int FROM users) AS users, (SELECT count(*)::int FROM video_jobs) AS jobs,
      (SELECT count(*)::int FROM notification_log) AS notifications`);
    return row;
  };
  const before = await count();
  const userId = await insert('users', user());
  for (let i = 0; i < 3; i += 1) {
    const jobId = await insert('video_jobs', job({ userId }));
    await insert('notification_log', notification({ jobId }));
    await insert('notification_log', notification({ jobId, notificationType: 'failure' }));
  }
  expect(await count()).not.toEqual(before);
  await h.dataSource.query('DELETE FROM users WHERE "userId" = $1', [userId]);
  expect(await count()).toEqual(before);
});
