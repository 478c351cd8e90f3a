// This process runs an application whose methods are made transactions by a library. Its argument names the library.
// Jest cannot load these libraries beside a Nest that is an ES module. The process prints what it has seen.
import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import type { INestApplicationContext, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getDataSourceToken } from '@nestjs/typeorm';
import {
  ClsPluginTransactional,
  Transactional as ClsTransactional,
  TransactionHost,
} from '@nestjs-cls/transactional';
import { TransactionalAdapterTypeOrm } from '@nestjs-cls/transactional-adapter-typeorm';
import { ClsModule } from 'nestjs-cls';
import type { DataSource } from 'typeorm';
import {
  addTransactionalDataSource,
  getDataSourceByName,
  initializeTransactionalContext,
  StorageDriver,
  Transactional,
} from 'typeorm-transactional';
import { FrameForgeDatabaseModule, JobService, UserService } from '../../src/index.js';

interface Registrations {
  register(username: string, fail: boolean): Promise<number>;
}

/** The transaction that both applications run: it creates a user and a first job. */
async function register(
  users: UserService,
  jobs: JobService,
  username: string,
  fail: boolean,
): Promise<number> {
  const email = `${username}@example.com`;
  const { userId } = await users.createUser({ username, email, passwordHash: 'x' });
  await jobs.createJob({ userId, filename: 'f', videoUrl: 's3://b/k' });
  // This reads outside of the transaction, as a read from a replica does.
  const { pending } = await jobs.countJobs({ userId }, { replica: true });
  if (fail) throw new Error('on purpose');
  return pending;
}

@Injectable()
class ByCls implements Registrations {
  constructor(
    private readonly users: UserService,
    private readonly jobs: JobService,
  ) {}

  @ClsTransactional()
  register(username: string, fail: boolean): Promise<number> {
    return register(this.users, this.jobs, username, fail);
  }
}

@Injectable()
class ByTransactional implements Registrations {
  constructor(
    private readonly users: UserService,
    private readonly jobs: JobService,
  ) {}

  @Transactional()
  register(username: string, fail: boolean): Promise<number> {
    return register(this.users, this.jobs, username, fail);
  }
}

const open = (module: Type): Promise<INestApplicationContext> =>
  NestFactory.createApplicationContext(module, { logger: false, abortOnError: false });

async function withCls(): Promise<INestApplicationContext> {
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({
        currentManager: () => TransactionHost.getInstance<TransactionalAdapterTypeOrm>().tx,
      }),
      ClsModule.forRoot({
        plugins: [
          new ClsPluginTransactional({
            adapter: new TransactionalAdapterTypeOrm({ dataSourceToken: getDataSourceToken() }),
          }),
        ],
      }),
    ],
    providers: [ByCls],
  })
  class AppModule {}
  return open(AppModule);
}

async function withTransactional(): Promise<INestApplicationContext> {
  initializeTransactionalContext({ storageDriver: StorageDriver.ASYNC_LOCAL_STORAGE });
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({
        currentManager: () => getDataSourceByName('default')?.manager,
      }),
    ],
    providers: [ByTransactional],
  })
  class AppModule {}
  const app = await open(AppModule);
  // This is a plain object, because the library does not accept a class that extends the DataSource of TypeORM.
  addTransactionalDataSource({
    name: 'default',
    dataSource: app.get<DataSource>(getDataSourceToken()),
  });
  return app;
}

const [library] = process.argv.slice(2);
const usesCls = library === 'nestjs-cls';
const app = await (usesCls ? withCls() : withTransactional());
const registrations: Registrations = app.get<ByCls | ByTransactional>(
  usesCls ? ByCls : ByTransactional,
);
const jobs = app.get(JobService);
const users = app.get(UserService);
const seen = {
  undone: await registrations.register('undone', true).catch((error: Error) => error.message),
  userOfUndone: await users.findForLogin({ username: 'undone' }),
  seenOutside: await registrations.register('done', false),
  pending: (await jobs.countJobs()).pending,
};
await app.close();
process.stdout.write(JSON.stringify(seen));
