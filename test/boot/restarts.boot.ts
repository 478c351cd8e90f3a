import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { bootOnce } from '../connection/boot.js';
import { OwnServer } from '../support/own-server.js';
import { query } from '../support/query.js';
import { until } from '../support/until.js';
import type { Seen } from './load.process.js';

const PROCESSES = 3;
const RESTARTS = 5;

let server: OwnServer;
let services: ChildProcess[] = [];
beforeAll(async () => {
  server = await OwnServer.start();
}, 60_000);
afterAll(async () => {
  for (const service of services) service.kill('SIGKILL');
  await server.remove();
});

async function start(userId: string): Promise<ChildProcess> {
  const service = fork('test/boot/load.process.ts', [userId], {
    execArgv: ['--import', './test/support/typescript.mjs'],
    env: { ...process.env, DATABASE_URL: server.url },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  await once(service, 'message');
  return service;
}

/** Fails if the service has ended, because an unhandled error would end it. */
async function ask(service: ChildProcess, question: 'seen' | 'stop'): Promise<Seen> {
  if (service.exitCode !== null || service.signalCode !== null) {
    throw new Error(`a service has ended: ${service.exitCode ?? service.signalCode}`);
  }
  service.send(question);
  const [seen] = (await once(service, 'message')) as [Seen];
  return seen;
}

it(`pg_ctl restart -m immediate, ${RESTARTS} times under load: each service keeps running, and nothing that was acknowledged is lost`, async () => {
  await bootOnce({ url: server.url });
  const [user] = await query(
    server.url,
    `INSERT INTO users (username, email, "passwordHash") VALUES ('a', 'a@x.org', 'x')
       RETURNING "userId"`,
  );
  services = await Promise.all(
    Array.from({ length: PROCESSES }, () => start(String(user?.['userId']))),
  );
  const exits = services.map((service) => once(service, 'exit'));
  for (let restart = 1; restart <= RESTARTS; restart++) {
    for (const service of services) await untilBusy(service);
    await server.control('restart', 'immediate');
  }
  for (const service of services) await untilBusy(service);

  const seen = await Promise.all(services.map((service) => ask(service, 'stop')));
  // Each process must end by itself: a broken connection that left something open would prevent that.
  expect((await Promise.all(exits)).map(([code]) => code as unknown)).toEqual([0, 0, 0]);
  expect(seen.flatMap(({ unexpected }) => unexpected)).toEqual([]);
  // The service has noticed the restarts.
  for (const { unavailable } of seen) expect(unavailable).toBeGreaterThanOrEqual(RESTARTS);

  const ids = async (sql: string): Promise<Set<unknown>> =>
    new Set((await query(server.url, sql)).map(({ jobId }) => jobId));
  const jobs = await ids('SELECT "jobId" FROM video_jobs');
  const completed = await ids(
    `SELECT "jobId" FROM video_jobs JOIN notification_log USING ("jobId")
       WHERE status = 'completed' AND "notificationType" = 'success'`,
  );
  expect(
    lost(
      seen.flatMap((one) => one.created),
      jobs,
    ),
  ).toEqual([]);
  expect(
    lost(
      seen.flatMap((one) => one.completed),
      completed,
    ),
  ).toEqual([]);
  expect(seen.flatMap((one) => one.completed).length).toBeGreaterThan(RESTARTS * PROCESSES);
}, 180_000);

/** Waits until a service has done more than it had. */
async function untilBusy(service: ChildProcess): Promise<void> {
  const before = await ask(service, 'seen');
  await until(async () => {
    const now = await ask(service, 'seen');
    return (
      now.created.length > before.created.length + 20 &&
      now.completed.length > before.completed.length
    );
  });
}

const lost = (acknowledged: readonly string[], found: ReadonlySet<unknown>): string[] =>
  acknowledged.filter((id) => !found.has(id));
