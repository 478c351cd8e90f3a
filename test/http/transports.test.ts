import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Controller, Get, Param } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { APP_FILTER, ExternalContextCreator } from '@nestjs/core';
import { ClientProxyFactory, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import type { ClientProxy, MicroserviceOptions } from '@nestjs/microservices';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { buildSchema, graphql } from 'graphql';
import { lastValueFrom } from 'rxjs';
import request from 'supertest';
import * as api from '../../src/index.js';

const JOB = '0190f2a4-5c6e-7abc-8def-0123456789ab';
const SECRET = 'db.internal:5432';
const cause = new Error(SECRET);
const problems = [{ property: 'userId', message: 'must be a UUID' }];
const errors: Partial<Record<string, Error>> = {
  invalid: new api.InvalidInputError('createJob', problems),
  taken: new api.UserConflictError('username'),
  missing: new api.JobNotFoundError(JOB),
  away: new api.DatabaseUnavailableError('createJob', { cause }),
  wrong: new api.ConfigurationError(`cannot log in to ${SECRET}`),
};
const TOLD: Record<string, object> = {
  invalid: { code: 'INVALID_INPUT', message: errors['invalid']?.message, problems },
  taken: { code: 'USER_CONFLICT', message: errors['taken']?.message },
  missing: { code: 'JOB_NOT_FOUND', message: errors['missing']?.message },
  away: {
    code: 'DATABASE_UNAVAILABLE',
    message: 'The service is temporarily unavailable. Try again later.',
  },
  wrong: { code: 'CONFIGURATION_INVALID', message: 'Internal server error' },
};
const STATUS: Record<string, number> = {
  invalid: 400,
  taken: 409,
  missing: 404,
  away: 503,
  wrong: 500,
};
const NAMES = Object.keys(TOLD);

@Controller()
class Failing {
  @Get(':name')
  @MessagePattern('fail')
  fail(@Param('name') inPath: string | undefined, @Payload() inMessage: unknown): never {
    const name = typeof inPath === 'string' ? inPath : inMessage;
    throw errors[String(name)] ?? new Error(SECRET);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const quiet = { log: () => {}, warn: () => {}, error: () => {} };
const module = () =>
  Test.createTestingModule({
    controllers: [Failing],
    providers: [{ provide: APP_FILTER, useClass: api.FrameForgeExceptionFilter }],
  })
    .setLogger(quiet)
    .compile();

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

function clientOf(port: number): ClientProxy {
  const options = { host: '127.0.0.1', port };
  const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
  ends.push(() => client.close());
  return client;
}

/** Returns the error that a client of Nest receives for a message that fails. */
const sent = (client: ClientProxy, name: string): Promise<unknown> =>
  lastValueFrom(client.send('fail', name)).then(
    () => 'an answer',
    (error: unknown) => error,
  );

it('a microservice tells its callers each error with its code, and nothing of the inside', async () => {
  const port = await freePort();
  const transport: MicroserviceOptions = {
    transport: Transport.TCP,
    options: { host: '127.0.0.1', port },
  };
  const app = (await module()).createNestMicroservice<MicroserviceOptions>(transport);
  ends.push(() => app.close());
  await app.listen();
  const client = clientOf(port);
  for (const name of NAMES) {
    expect(await sent(client, name)).toEqual({ status: 'error', ...TOLD[name] });
  }
  expect(await sent(client, 'other')).toEqual({
    status: 'error',
    message: 'Internal server error',
  });
});

it('a hybrid application tells both of its kinds of callers', async () => {
  const port = await freePort();
  const app = (await module()).createNestApplication<INestApplication>();
  ends.push(() => app.close());
  const options = { host: '127.0.0.1', port };
  app.connectMicroservice<MicroserviceOptions>(
    { transport: Transport.TCP, options },
    { inheritAppConfig: true },
  );
  await app.startAllMicroservices();
  await app.init();
  const client = clientOf(port);
  for (const name of NAMES) {
    expect(await sent(client, name)).toEqual({ status: 'error', ...TOLD[name] });
    const { body } = await request(app.getHttpServer() as never).get(`/${name}`);
    expect(body).toMatchObject(TOLD[name] as object);
  }
});

it('an application on Fastify answers as one on Express', async () => {
  const app = (await module()).createNestApplication<INestApplication>(new FastifyAdapter());
  ends.push(() => app.close());
  await app.listen(0, '127.0.0.1');
  for (const name of NAMES) {
    const response = await fetch(`${await app.getUrl()}/${name}`);
    const body = { statusCode: response.status, ...TOLD[name] };
    expect(await response.json()).toEqual(body);
    expect(response.status).toBe(STATUS[name]);
  }
});

it('GraphQL has the code in its extensions, and nothing of the inside', async () => {
  const app = (await module()).createNestApplication<INestApplication>();
  ends.push(() => app.close());
  await app.init();
  const controller = app.get(Failing);
  // @nestjs/graphql makes a resolver in this way.
  const resolver = app
    .get(ExternalContextCreator)
    .create(
      controller,
      controller.fail as (...args: unknown[]) => unknown,
      'fail',
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      'graphql',
    );
  for (const name of NAMES) {
    const { message, ...extensions } = TOLD[name] as { message: string };
    const answer = await graphql({
      schema: buildSchema('type Query { fail: String }'),
      source: '{ fail }',
      rootValue: { fail: () => resolver(name) },
    });
    expect(JSON.parse(JSON.stringify(answer))).toEqual({
      data: { fail: null },
      errors: [{ message, path: ['fail'], locations: expect.anything(), extensions }],
    });
    // Apollo shows the stack only if an option says so.
    expect(answer.errors?.[0]?.originalError?.stack).toBe(message);
  }
});
