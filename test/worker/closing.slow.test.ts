import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Injectable, Module } from '@nestjs/common';
import type { INestApplicationContext, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { FrameForgeWorkerModule, VideoJobProcessor } from '../../src/worker/index.js';
import { Proxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { RESULT } from './app.js';
import { onServer } from '../support/server.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

@Injectable()
@VideoJobProcessor()
class Extractor {
  async process() {
    return RESULT;
  }
}

const silent = (): void => {};
const SILENT = { log: silent, warn: silent, error: silent };

/** A service with a worker. */
function service(url: string, applicationName: string): Type {
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url, applicationName }),
      FrameForgeWorkerModule.forRoot({ listen: true }),
    ],
    providers: [Extractor],
  })
  class Service {}
  return Service;
}

/** Begins the start of an application. @returns a promise for its error; undefined if the start succeeds */
const begin = (app: INestApplicationContext): Promise<unknown> =>
  app.init().then(
    () => undefined,
    (error: unknown) => error,
  );

// Before Nest closes an application, it waits for its start. It does not wait for the start of a module under test.
const KINDS: [string, (type: Type) => Promise<INestApplicationContext>][] = [
  ['an application', (type) => NestFactory.create(type, { logger: false })],
  [
    'a module under test',
    (type) =>
      Test.createTestingModule({ imports: [type] })
        .setLogger(SILENT)
        .compile(),
  ],
];

it.each(
  KINDS.flatMap(([kind, create]) =>
    [0, 1, 2, 4, 8, 16, 24, 32, 48, 64].map((ms) => [kind, ms, create] as const),
  ),
)('%s that closes %i ms after its start leaves nothing that claims jobs', async (_, ms, create) => {
  const name = `closing-${ms}`;
  const app = await create(service(onServer(world.harness.url), name));
  const started = begin(app);
  await sleep(ms);
  await app.close();
  expect(await started).toBeUndefined();
  await until(async () => {
    const sessions = await world.harness.dataSource.query(
      'SELECT FROM pg_stat_activity WHERE application_name = $1',
      [name],
    );
    return sessions.length === 0;
  });
});

it.each(KINDS)('%s closes while its worker waits for the database', async (_, create) => {
  const proxy = await Proxy.start(world.harness.url);
  const app = await create(service(proxy.url, 'waiting'));
  await proxy.stop();
  const started = begin(app);
  await sleep(100);
  await app.close();
  expect(await started).toBeUndefined();
});

it.each(['refuses', 'is silent'])(
  'SIGTERM ends a process whose worker starts while the database %s',
  async (how) => {
    const proxy = await Proxy.start(world.harness.url);
    const child = fork(fileURLToPath(new URL('./booting.process.ts', import.meta.url)), {
      execArgv: ['--import', './test/support/typescript.mjs'],
      env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: proxy.url },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    try {
      const ended = once(child, 'exit');
      let printed = '';
      child.stderr?.on('data', (chunk) => (printed += String(chunk)));
      const [created] = (await once(child, 'message')) as [unknown];
      expect(created).toBe('created');
      if (how === 'is silent') {
        proxy.silent = true;
        proxy.cut();
      } else await proxy.stop();
      const messages: unknown[] = [];
      child.on('message', (message) => messages.push(message));
      child.send('start');
      await until(() => messages.includes('starting'));
      await sleep(how === 'is silent' ? 100 : 1_000);
      child.kill('SIGTERM');
      expect(await ended).toEqual([null, 'SIGTERM']);
      expect(printed).toBe('');
      expect(messages).not.toContainEqual(expect.objectContaining({ level: 'error' }));
    } finally {
      child.kill('SIGKILL');
      if (how === 'is silent') await proxy.stop();
    }
  },
);
