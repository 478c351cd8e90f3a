import { randomUUID } from 'node:crypto';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule, Mailer } from '../../examples/sharding/app.module.js';
import { ShardedJobs } from '../../examples/sharding/sharded.jobs.js';
import { SHARDS, shardOf } from '../../examples/sharding/shards.js';
import type { Shard } from '../../examples/sharding/shards.js';
import { JobNotFoundError } from '../../src/index.js';
import { query } from '../support/query.js';
import { createDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';
import { until } from '../support/until.js';

const USERS = 20;

let databases: Record<Shard, TestDatabase>;
let app: INestApplicationContext;
let jobs: ShardedJobs;
beforeAll(async () => {
  databases = { east: await createDatabase(), west: await createDatabase() };
  const urls = { east: databases.east.url, west: databases.west.url };
  app = await NestFactory.createApplicationContext(AppModule.on(urls), { logger: ['error'] });
  jobs = app.get(ShardedJobs);
});
afterAll(async () => {
  await app?.close();
  for (const shard of SHARDS) await databases[shard].drop();
});

const register = (index: number) =>
  jobs.register({ username: `user${index}`, email: `${index}@x.org`, passwordHash: 'x' });

it('keeps each user, the jobs and the notifications in one of two databases', async () => {
  const users = await Promise.all(Array.from({ length: USERS }, (_, index) => register(index)));
  const created = await Promise.all(
    users.map(({ userId }) =>
      jobs.createJob({ userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' }),
    ),
  );
  await until(async () => app.get(Mailer).sent.length === USERS);
  expect(await jobs.countJobs()).toMatchObject({ completed: USERS, pending: 0 });

  for (const shard of SHARDS) {
    const mine = users.filter(({ userId }) => shardOf(userId) === shard);
    expect(mine.length).toBeGreaterThan(0);
    const rows = await query(
      databases[shard].url,
      `SELECT "userId" FROM users JOIN video_jobs USING ("userId") JOIN notification_log USING ("jobId")
       WHERE "status" = 'completed'`,
    );
    expect(rows.map(({ userId }) => userId).toSorted()).toEqual(
      mine.map(({ userId }) => userId).toSorted(),
    );
  }

  const [first, second] = created;
  const read = await jobs.getJob(String(first?.userId), String(first?.jobId));
  expect(read.frameCount).toBe(1);
  expect((await jobs.listJobs(String(second?.userId))).jobs).toHaveLength(1);
  await expect(jobs.getJob(randomUUID(), String(first?.jobId))).rejects.toThrow(JobNotFoundError);
});

it('spreads users evenly', () => {
  const counts = { east: 0, west: 0 };
  for (let index = 0; index < 10_000; index += 1) counts[shardOf(randomUUID())] += 1;
  expect(Math.abs(counts.east - counts.west)).toBeLessThan(600);
});
