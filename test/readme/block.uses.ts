import { blocksOf } from './readme.blocks.js';

/** The two commands that the tutorial shows: an upload, and a request for its job. */
const CURL = blocksOf('docs/tutorial.md')
  .flatMap(({ text }) => text.split('\n'))
  .filter((line) => line.startsWith('curl '))
  .map((line) => line.replace(/^curl /, 'curl -s '));

/**
 * How the TypeScript blocks of the README and of `docs` are used, by document, and by file or place. A
 * block without a use fails the test: add one here when you add a block.
 *
 * A block that is a file is imported by its use, which is a program of its own with DATABASE_URL
 * naming an empty database. Any other block runs in a context (CONTEXT in block.programs.ts), and then
 * its use, which checks what it did.
 */
export const USES: Record<string, Record<string, string>> = {
  'README.md': {
    'src/app.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    import { AppModule } from './app.module.js';
    await withApp(AppModule, async (app) => {
      assert.deepEqual((await app.get(JobService).listJobs()).jobs, []);
    });`,

    'src/upload.service.ts': `
    import { User } from '@frameforge/shared-types';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { AppModule } from './app.module.js';
    import { UploadService } from './upload.service.js';
    @Module({ imports: [AppModule], providers: [UploadService] })
    class Uploads {}
    await withApp(Uploads, async (app) => {
      const email = 'ada@example.com';
      await app.get(getRepositoryToken(User)).save({ username: 'ada', email, passwordHash: '?' });
      const job = await app.get(UploadService).upload(email, 'cat.mp4');
      assert.equal(job.status, 'pending');
    });`,
  },

  'docs/beyond-one-machine.md': {
    'A billion finished jobs 1': `
    assert.equal((await jobs.countJobs()).completed, 1);`,
  },

  'docs/guides/brokers.md': {
    'src/uploads.gateway.ts': `
    import { FrameForgeDatabaseModule, JobService, User } from '@frameforge/shared-types';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { of } from 'rxjs';
    import { UploadsConsumer } from './uploads.consumer.js';
    import { UploadsGateway } from './uploads.gateway.js';
    // A broker that delivers at once.
    const sent: { jobId: string }[] = [];
    const BROKER = { emit: (_event: string, message: { jobId: string }) => of(sent.push(message)) };
    @Module({
      imports: [FrameForgeDatabaseModule.forRoot()],
      providers: [UploadsGateway, UploadsConsumer, { provide: 'BROKER', useValue: BROKER }],
    })
    class Application {}
    await withApp(Application, async (app) => {
      const users = app.get(getRepositoryToken(User), { strict: false });
      const { userId } = await users.save({ username: 'ada', email: 'ada@x.org', passwordHash: '?' });
      await app.get(UploadsGateway).upload(userId, 'a.mp4', 's3://u/a.mp4');
      await app.get(UploadsConsumer).onUploaded(sent[0] as never);
      const { status, frameCount } = await app.get(JobService).getJob(String(sent[0]?.jobId));
      assert.deepEqual({ status, frameCount }, { status: 'completed', frameCount: 240 });
    });`,

    'src/uploads.consumer.ts': `
    await import('./uploads.consumer.js');`,

    'Jobs without a lease 1': `
    assert.equal(processing.jobs.length, 0);`,
  },

  'docs/guides/cancel-and-progress.md': {
    'src/events.controller.ts': `
    import { FrameForgeDatabaseModule, JobService, User } from '@frameforge/shared-types';
    import { Module } from '@nestjs/common';
    import { NestFactory } from '@nestjs/core';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { EventsController } from './events.controller.js';
    @Module({ imports: [FrameForgeDatabaseModule.forRoot()], controllers: [EventsController] })
    class Application {}
    const app = await NestFactory.create(Application, { logger: ['error'] });
    await app.listen(0);
    const users = app.get(getRepositoryToken(User), { strict: false });
    const { userId } = await users.save({ username: 'ada', email: 'ada@x.org', passwordHash: '?' });
    const jobs = app.get(JobService);
    const { jobId } = await jobs.createJob({ userId, filename: 'a', videoUrl: 's3://u/a.mp4' });
    const url = (await app.getUrl()) + '/jobs/' + jobId + '/events';
    const answer = await fetch(url, { headers: { 'x-user': userId } });
    await jobs.cancelJob(jobId);
    // The stream ends with the final state.
    const text = await answer.text();
    assert.match(text, /"status":"failed"/);
    await app.close();`,

    'src/careful.extractor.ts': `
    import { FrameForgeDatabaseModule, JobService, User } from '@frameforge/shared-types';
    import { FrameForgeWorkerModule } from '@frameforge/shared-types/worker';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { CarefulExtractor } from './careful.extractor.js';
    @Module({
      imports: [FrameForgeDatabaseModule.forRoot(), FrameForgeWorkerModule.forRoot()],
      providers: [CarefulExtractor],
    })
    class Application {}
    await withApp(Application, async (app) => {
      const users = app.get(getRepositoryToken(User), { strict: false });
      const { userId } = await users.save({ username: 'ada', email: 'ada@x.org', passwordHash: '?' });
      const jobs = app.get(JobService);
      const video = { userId, filename: 'a.mp4', videoUrl: 's3://u/a.mp4' };
      const { jobId } = await jobs.createJob(video);
      while (((await jobs.getJob(jobId)).progress ?? 0) === 0) await sleep(50);
      const cancelled = await jobs.cancelJob(jobId, { reason: 'enough' });
      assert.equal(cancelled.status, 'failed');
      const done = await jobs.createJob(video);
      while ((await jobs.getJob(done.jobId)).status !== 'completed') await sleep(50);
      assert.equal((await jobs.getJob(jobId)).status, 'failed');
    });`,

    'Cancelling 1': `
    assert.ok((await jobs.getJob(jobId)).cancelledAt);`,

    'Your own writes, only while the run is held 1': `
    assert.deepEqual(await dataSource.query('SELECT "jobId" FROM thumbnails'), [
      { jobId: job.jobId },
    ]);`,

    'Pausing all workers 1': `
    assert.equal((await jobs.claimJobs()).length, 1);`,
  },

  'docs/guides/console.md': {
    'src/console.module.ts': `
    import { Module } from '@nestjs/common';
    import { NestFactory } from '@nestjs/core';
    import { AppModule } from './app.module.js';
    import { ConsoleModule } from './console.module.js';
    @Module({ imports: [AppModule, ConsoleModule] })
    class Application {}
    const app = await NestFactory.create(Application, { logger: ['error'] });
    await app.listen(0);
    const url = (await app.getUrl()) + '/frameforge';
    assert.equal((await fetch(url)).status, 403);
    const headers = { 'x-user': 'admin' };
    assert.match(await (await fetch(url, { headers })).text(), /assets.console.js/);
    const overview = await (await fetch(url + '/api/overview', { headers })).json();
    assert.equal(overview.data.lastHour.length, 60);
    await app.close();`,

    'src/watch.ts': `
    import { FrameForgeDatabaseModule } from '@frameforge/shared-types';
    import { Module } from '@nestjs/common';
    import { Watch } from './watch.js';
    @Module({ imports: [FrameForgeDatabaseModule.forRoot()], providers: [Watch] })
    class Application {}
    await withApp(Application, async (app) => {
      assert.equal(await app.get(Watch).isBehind(), false);
    });`,
  },

  'docs/guides/data-sources.md': {
    'src/feature.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    import { AppModule } from './feature.module.js';
    await withApp(AppModule, async (app) => {
      assert.deepEqual((await app.get(JobService).listJobs()).jobs, []);
    });`,

    'src/archive.module.ts': `
    import { Archive, ArchiveModule } from './archive.module.js';
    await withApp(ArchiveModule, async (app) => {
      const archive = app.get(Archive);
      assert.deepEqual((await archive.jobs.listJobs()).jobs, []);
      assert.equal(await archive.videoJobs.count(), 0);
    });`,
  },

  'docs/guides/deliveries.md': {
    'src/http.mailer.ts': `
    import { FrameForgeDatabaseModule, JobService, NotificationService, User } from '@frameforge/shared-types';
    import { FrameForgeWorkerModule } from '@frameforge/shared-types/worker';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { createServer } from 'node:http';
    import type { AddressInfo } from 'node:net';
    import { HttpMailer } from './http.mailer.js';
    @Module({
      imports: [
        FrameForgeDatabaseModule.forRoot(),
        FrameForgeWorkerModule.forRoot({ deliveryBackoff: { baseMs: 1, maxMs: 1 } }),
      ],
      providers: [HttpMailer],
    })
    class Application {}
    const keys: unknown[] = [];
    const api = createServer((request, response) => {
      keys.push(request.headers['idempotency-key']);
      response.writeHead(keys.length === 1 ? 503 : 200).end();
    });
    await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
    process.env.MAIL_API = 'http://127.0.0.1:' + (api.address() as AddressInfo).port;
    await withApp(Application, async (app) => {
      const users = app.get(getRepositoryToken(User), { strict: false });
      const { userId } = await users.save({ username: 'ada', email: 'ada@x.org', passwordHash: '?' });
      const jobs = app.get(JobService);
      const { jobId } = await jobs.createJob({ userId, filename: 'a', videoUrl: 's3://u/a.mp4' });
      await jobs.cancelJob(jobId);
      const list = async () =>
        (await app.get(NotificationService).listNotifications({ jobId })).notifications;
      while ((await list())[0]?.deliveryStatus !== 'sent') await sleep(20);
      const key = (await list())[0]?.notificationId;
      assert.deepEqual(keys, [key, key]);
    });
    api.close();`,

    'When it fails 1': `
    assert.equal(failed.notifications.length, 0);`,

    'When it fails 2': `
    assert.deepEqual(await notifications.redeliverNotifications(filter), { matched: 0, changed: 0 });`,
  },

  'docs/guides/development.md': {
    'PostgreSQL for development 2': `
    await assert.rejects(new DataSource({ type: 'postgres', url: server.url }).initialize());`,
  },

  'docs/guides/monitoring.md': {
    'src/health.module.ts': `
    import { Module } from '@nestjs/common';
    import { NestFactory } from '@nestjs/core';
    import { AppModule } from './app.module.js';
    import { HealthModule } from './health.module.js';
    @Module({ imports: [AppModule, HealthModule] })
    class Application {}
    const app = await NestFactory.create(Application, { logger: ['error'] });
    await app.listen(0);
    const answer = await (await fetch((await app.getUrl()) + '/health')).json();
    assert.equal(answer.details.database.status, 'up');
    assert.deepEqual(answer.details.database.pendingMigrations, []);
    await app.close();`,
  },

  'docs/guides/replicas.md': {
    'src/replicas.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    process.env.REPLICA_URL = process.env.DATABASE_URL;
    const { AppModule } = await import('./replicas.module.js');
    await withApp(AppModule, async (app) => {
      assert.deepEqual((await app.get(JobService).listJobs({}, { replica: true })).jobs, []);
    });`,

    'Read replicas 2': `
    assert.equal(page.jobs.length, 2);
    assert.equal(counts.pending, 1);`,
  },

  'docs/guides/retention-and-bulk.md': {
    'Retention 1': `
    assert.equal(DAY_MS, 86_400_000);`,

    'Many at once 1': `
    assert.equal((await jobs.countJobs({ userId })).pending, 0);`,
  },

  'docs/guides/testing-workers.md': {
    'src/frames.e2e.test.ts': `
    delete process.env.DATABASE_URL;
    await import('./frames.e2e.test.js');`,
  },

  'docs/guides/transactions.md': {
    'src/cls.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    import { AppModule, Registration } from './cls.module.js';
    await withApp(AppModule, async (app) => {
      const registration = app.get(Registration);
      await registration.register('ada', 'cat.mp4');
      const jobs = app.get(JobService);
      assert.equal((await jobs.countJobs()).pending, 1);
      // The user is rolled back with the job that is refused.
      await assert.rejects(registration.register('bob', ''));
      await registration.register('bob', 'dog.mp4');
      assert.equal((await jobs.countJobs()).pending, 2);
    });`,

    'src/transactional.main.ts': `
    import { JobService, UserService } from '@frameforge/shared-types';
    import { runInTransaction } from 'typeorm-transactional';
    process.env.PORT = '0';
    const { app } = await import('./transactional.main.js');
    const users = app.get(UserService);
    const user = { username: 'ada', email: 'ada@x.org', passwordHash: '?' };
    const failing = runInTransaction(async () => {
      await users.createUser(user);
      throw new Error('on purpose');
    });
    await assert.rejects(failing, /on purpose/);
    await users.createUser(user);
    await app.close();`,

    'Transactions 1': `
    const [row] = await dataSource.query(
      'SELECT count(*)::int AS both FROM invoices JOIN video_jobs USING ("jobId")',
    );
    assert.equal(row.both, 1);`,

    'When a call is refused 1': `
    const [refusal] = await dataSource.query('SELECT count(*)::int AS n FROM refusals');
    assert.equal(refusal.n, 1);`,
  },

  'docs/guides/workers.md': {
    'src/worker.module.ts': `
    import { JobService, NotificationService, User } from '@frameforge/shared-types';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { WorkerModule } from './worker.module.js';
    await withApp(WorkerModule, async (app) => {
      const email = 'ada@example.com';
      const { userId } = await app
        .get(getRepositoryToken(User), { strict: false })
        .save({ username: 'ada', email, passwordHash: '?' });
      const video = { userId, filename: 'cat.mp4', videoUrl: 's3://uploads/cat.mp4' };
      const { jobId } = await app.get(JobService).createJob(video);
      const sent = async () =>
        (await app.get(NotificationService).listNotifications({ jobId, deliveryStatus: 'sent' as never }))
          .notifications;
      while ((await sent()).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal((await app.get(JobService).getJob(jobId)).frameCount, 240);
    });`,

    'src/thumbnails.handler.ts': `
    import { FrameForgeDatabaseModule, JobService, User } from '@frameforge/shared-types';
    import { FrameForgeWorkerModule } from '@frameforge/shared-types/worker';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { Thumbnails } from './thumbnails.handler.js';
    @Module({
      imports: [FrameForgeDatabaseModule.forRoot(), FrameForgeWorkerModule.forRoot()],
      providers: [Thumbnails],
    })
    class Application {}
    await withApp(Application, async (app) => {
      const users = app.get(getRepositoryToken(User), { strict: false });
      await users.query('CREATE TABLE thumbnails ("jobId" uuid)');
      const { userId } = await users.save({ username: 'ada', email: 'ada@x.org', passwordHash: '?' });
      const jobs = app.get(JobService);
      const { jobId } = await jobs.createJob({ userId, filename: 'a.mp4', videoUrl: 's3://u/a.mp4' });
      while ((await jobs.getJob(jobId)).status !== 'completed') await sleep(20);
      assert.deepEqual(await users.query('SELECT "jobId" FROM thumbnails'), [{ jobId }]);
    });`,
  },

  'docs/reference/errors.md': {
    'src/main.ts': `
    process.env.PORT = '0';
    const { app } = await import('./main.js');
    assert.equal((await fetch(await app.getUrl())).status, 404);
    await app.close();`,
  },

  'docs/reference/job-life.md': {
    'By hand 1': `
    const { pending, completed } = await jobs.countJobs();
    assert.deepEqual({ pending, completed }, { pending: 0, completed: 2 });`,

    'Notifications 1': `
    const told = (await notifications.listNotifications()).notifications;
    assert.deepEqual(told.map(({ deliveryStatus }) => deliveryStatus), ['sent']);`,
  },

  'docs/reference/options.md': {
    'src/async.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    import { AppModule } from './async.module.js';
    await withApp(AppModule, async (app) => {
      assert.deepEqual((await app.get(JobService).listJobs()).jobs, []);
    });`,
  },

  'docs/guides/users.md': {
    'src/auth.service.ts': `
    import { AuthService } from './auth.service.js';
    import { AppModule } from './app.module.js';
    import { UserConflictError } from '@frameforge/shared-types';
    import { Module } from '@nestjs/common';
    @Module({ imports: [AppModule], providers: [AuthService] })
    class Application {}
    await withApp(Application, async (app) => {
      const auth = app.get(AuthService);
      await auth.register('ada', 'ada@example.com', 'correct horse');
      assert.equal((await auth.logIn('ada', 'correct horse'))?.email, 'ada@example.com');
      assert.equal(await auth.logIn('ada', 'wrong'), null);
      assert.equal(await auth.logIn('bob', 'wrong'), null);
      await assert.rejects(auth.register('ada', 'a@example.com', 'x'), UserConflictError);
    });`,
  },

  'docs/tutorial.md': {
    'src/uploads.controller.ts': `
    await import('./uploads.controller.js');`,

    'src/frame.extractor.ts': `
    await import('./frame.extractor.js');`,

    'src/mailer.ts': `
    await import('./mailer.js');`,

    'src/app.module.ts': `
    await import('./app.module.js');`,

    'src/dev.ts': `
    import { exec } from 'node:child_process';
    import { chmodSync } from 'node:fs';
    import { promisify } from 'node:util';
    // As root, the server runs as another account, which has to enter this temporary folder.
    chmodSync('.', 0o711);
    delete process.env.DATABASE_URL;
    process.env.PORT = '0';
    await import('./dev.js');
    const { app } = await import('./main.js');
    const url = await app.getUrl();
    const refused = await fetch(url + '/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    assert.equal(refused.status, 400);
    // The commands that the page shows.
    const run = async (command: string) => {
      const { stdout } = await promisify(exec)(command.replace('localhost:3000', new URL(url).host));
      return JSON.parse(stdout);
    };
    const [post, get] = ${JSON.stringify(CURL)};
    const { jobId } = await run(String(post));
    const look = () => run(String(get).replace(/<.*>/, jobId));
    let job = await look();
    const seen: number[] = [];
    while (job.status !== 'completed') {
      if (job.progress !== null) seen.push(job.progress);
      await sleep(100);
      job = await look();
    }
    assert.ok(seen.length > 0, 'a progress was seen');
    assert.equal(job.frameCount, 100);
    const { NotificationService } = await import('@frameforge/shared-types');
    const notifications = app.get(NotificationService);
    const list = async () => (await notifications.listNotifications({ jobId })).notifications;
    while ((await list())[0]?.deliveryStatus !== 'sent') await sleep(20);
    await app.close();
    process.exit(0);`,

    'src/main.ts': `
    process.env.PORT = '0';
    const { app } = await import('./main.js');
    assert.equal((await fetch(await app.getUrl())).status, 404);
    await app.close();`,
  },

  'docs/guides/fair-order.md': {
    'Fair order 1': `
    assert.ok(await jobs.claimJobs({ order: 'fair' }));`,

    'A limit for each user 1': `
    assert.ok(await jobs.claimJobs({ maxRunningPerUser: 3 }));`,
  },

  'docs/guides/limits-and-retries.md': {
    'src/careful.extractor.ts': `
    import { FrameForgeDatabaseModule, JobService, User } from '@frameforge/shared-types';
    import { FrameForgeWorkerModule } from '@frameforge/shared-types/worker';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { createServer } from 'node:http';
    import type { AddressInfo } from 'node:net';
    import { CarefulExtractor } from './careful.extractor.js';
    @Module({
      imports: [FrameForgeDatabaseModule.forRoot(), FrameForgeWorkerModule.forRoot()],
      providers: [CarefulExtractor],
    })
    class Application {}
    let busy = true;
    const store = createServer((request, response) => {
      const status = request.url === '/gone' ? 404 : busy ? 429 : 200;
      busy &&= status !== 429;
      response.writeHead(status, { 'retry-after': '0' }).end('frames');
    });
    await new Promise<void>((resolve) => store.listen(0, '127.0.0.1', resolve));
    const at = 'http://127.0.0.1:' + (store.address() as AddressInfo).port;
    await withApp(Application, async (app) => {
      const users = app.get(getRepositoryToken(User), { strict: false });
      const { userId } = await users.save({ username: 'ada', email: 'ada@x.org', passwordHash: '?' });
      const jobs = app.get(JobService);
      const run = async (path: string) => {
        const { jobId } = await jobs.createJob({ userId, filename: 'a', videoUrl: at + path });
        let job = await jobs.getJob(jobId);
        while (job.completedAt === null) {
          await sleep(20);
          job = await jobs.getJob(jobId);
        }
        return job;
      };
      const gone = await run('/gone');
      assert.deepEqual([gone.status, gone.attempts], ['failed', 1]);
      const done = await run('/busy-once');
      assert.deepEqual([done.status, done.attempts, done.runNumber], ['completed', 1, 2]);
    });
    store.close();`,
  },

  'docs/guides/parameters-and-output.md': {
    'Parameters and output 1': `
    const { jobs: [newest] } = await jobs.listJobs({ limit: 1 });
    assert.deepEqual(newest?.parameters, { framesPerSecond: 2, format: 'jpg' });`,

    'src/extractor.ts': `
    import { FrameForgeDatabaseModule, InvalidInputError, JobService, User } from '@frameforge/shared-types';
    import { FrameForgeWorkerModule } from '@frameforge/shared-types/worker';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { ExtractionParameters, Extractor } from './extractor.js';
    @Module({
      imports: [
        FrameForgeDatabaseModule.forRoot({ jobParameters: ExtractionParameters }),
        FrameForgeWorkerModule.forRoot(),
      ],
      providers: [Extractor],
    })
    class Application {}
    await withApp(Application, async (app) => {
      const users = app.get(getRepositoryToken(User), { strict: false });
      const { userId } = await users.save({ username: 'ada', email: 'ada@x.org', passwordHash: '?' });
      const jobs = app.get(JobService);
      const video = { userId, filename: 'a.mp4', videoUrl: 's3://u/a.mp4' };
      await assert.rejects(
        jobs.createJob({ ...video, parameters: { framesPerSecond: 100 } }),
        InvalidInputError,
      );
      const { jobId } = await jobs.createJob({ ...video, parameters: { framesPerSecond: 2 } });
      while ((await jobs.getJob(jobId)).status !== 'completed') await sleep(20);
      const { frameCount, output } = await jobs.getJob(jobId);
      assert.deepEqual({ frameCount, output }, { frameCount: 20, output: { seconds: 10 } });
    });`,
  },
};
