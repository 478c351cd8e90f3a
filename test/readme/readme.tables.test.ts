import { Controller, Get, Param } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import request from 'supertest';
import * as api from '../../src/index.js';
import { RULES } from '../../src/database.rules.js';
import { resolveOptions } from '../../src/database.options.js';
import { resolveWorkerOptions } from '../../src/worker/worker.options.js';
import { REPOSITORY } from '../consumer/consumer.project.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { namesIn, tablesUnder } from './readme.blocks.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const methodsOf = (service: { prototype: object }): string[] =>
  Object.getOwnPropertyNames(service.prototype).filter((name) => name !== 'constructor');

describe('the tables of the services', () => {
  const rows = tablesUnder('README.md', 'Services');
  const rowsOf = (service: string): string[][] => {
    const start = rows.findIndex(([first]) => first === `\`${service}\``);
    const end = rows.findIndex(
      ([first], index) => index > start && /^`[A-Z]\w+Service`$/.test(first ?? ''),
    );
    return rows.slice(start + 1, end === -1 ? undefined : end);
  };

  it.each([
    ['JobService', api.JobService],
    ['NotificationService', api.NotificationService],
  ] as const)('have every method of %s', (name, service) => {
    const publicMethods = methodsOf(service).filter(
      // `private` exists for the compiler only.
      (method) => !privateMethods(service.name).includes(method),
    );
    const shown = rowsOf(name).map(([first = '']) => /^`(\w+)\(/.exec(first)?.[1]);
    expect(shown).toEqual(publicMethods);
  });

  it('tell which join a transaction', async () => {
    const shown = [...rowsOf('JobService'), ...rowsOf('NotificationService')];
    expect(shown.length).toBeGreaterThan(15);
    const { manager } = h.dataSource;
    for (const [first = '', , joins] of shown) {
      const method = /\w+/.exec(first)?.[0] ?? '';
      const service = (method in h.jobs ? h.jobs : h.notifications) as unknown as Record<
        string,
        (...args: unknown[]) => Promise<unknown>
      >;
      // A foreign manager: whoever joins one refuses it, before anything else is looked at.
      // `{ userId }` stands in the options too.
      const listed = /\((.*)\)/.exec(first)?.[1]?.split(/, (?!\w+ \})/) ?? [];
      const parameters = listed.filter((name) => name !== '{ userId }').length;
      const foreign = { manager: Object.create(manager, { dataSource: { value: undefined } }) };
      const args = Array.from({ length: parameters }, () => ({
        errorMessage: '?',
      }));
      const refusal = await service[method]?.(...args, foreign).then(
        () => '',
        (error: Error) => error.message,
      );
      expect({ method, joins: refusal?.includes('manager') ? 'yes' : 'no' }).toEqual({
        method,
        joins,
      });
    }
  });
});

/** The names that the compiler keeps private, from the source. */
function privateMethods(service: string): string[] {
  const file =
    service === 'JobService' ? 'jobs/job.service.ts' : 'notifications/notification.service.ts';
  const source = readFileSync(join(REPOSITORY, 'src', file), 'utf8');
  return [...source.matchAll(/^ {2}private (?:async )?(\w+)[(<]/gm)].map(
    ([, name]) => name as string,
  );
}

describe('the table of errors', () => {
  const id = '5f6a6bb5-4a0c-4c3a-9d0c-1f2f3a4b5c6d';
  const state = { status: api.JobStatus.COMPLETED, runNumber: 1 };
  const ERRORS: api.FrameForgeError[] = [
    new api.InvalidInputError('createJob', []),
    new api.UserNotFoundError([id]),
    new api.JobNotFoundError(id),
    new api.NotificationNotFoundError(id),
    new api.InvalidJobTransitionError(id, 'retried', state.status, state.runNumber),
    new api.InvalidNotificationTransitionError('x', 'redelivered', 'sent', 1),
    new api.LeaseLostError({ jobId: id, ...state }),
    new api.JobCancelledError(id, 1),
    new api.JobConflictError(id),
    new api.TransactionConflictError('createJob'),
    new api.DatabaseUnavailableError('createJob'),
    new api.StatementTimeoutError('createJob'),
    new api.RunTimeoutError('x', 1, 1),
    new api.MigrationError('failed'),
    new api.ConfigurationError('wrong'),
  ];

  it('has every error with its code and its HTTP status', async () => {
    @Controller()
    class Failing {
      @Get(':code')
      fail(@Param('code') code: string): never {
        throw ERRORS.find((error) => error.code === code) as Error;
      }
    }
    const module = await Test.createTestingModule({ controllers: [Failing] }).compile();
    const app = module.createNestApplication({ logger: false });
    app.useGlobalFilters(new api.FrameForgeExceptionFilter());
    await app.init();
    try {
      const actual: unknown[] = [];
      for (const { name, code } of ERRORS) {
        const { status } = await request(app.getHttpServer() as never).get(`/${code}`);
        actual.push([`\`${name}\``, `\`${code}\``, String(status)]);
      }
      const shown = tablesUnder('README.md', 'Errors').slice(1);
      expect(shown.map((cells) => cells.slice(0, 3))).toEqual(actual);
    } finally {
      await app.close();
    }
  });

  it('has all of them', () => {
    const classes = Object.values(api).filter(
      (value) => typeof value === 'function' && value.prototype instanceof api.FrameForgeError,
    );
    expect(new Set(ERRORS.map((error) => error.constructor))).toEqual(new Set(classes));
  });
});

describe('the options', () => {
  const url = 'postgres://user@host/name';

  it('have the defaults that are shown', () => {
    const { dataSource, boot, ...rest } = resolveOptions({ url }, {});
    const actual: Record<string, unknown> = {
      synchronize: false,
      dropSchema: false,
      ...dataSource,
      ...boot,
      ...rest,
    };
    const shown = tablesUnder('README.md', 'Options')
      .slice(1)
      .flatMap(([names = '', value = '']) => namesIn(names).map((name) => [name, value] as const))
      .filter(([, value]) => value.startsWith('`'));
    expect(shown.length).toBeGreaterThan(10);
    for (const [name, value] of shown) {
      expect(`${name}: \`${String(actual[name])}\``).toBe(`${name}: ${value}`);
    }
  });

  it('are all there, and no others', () => {
    const known = Object.keys(RULES);
    const rest = readFileSync(join(REPOSITORY, 'README.md'), 'utf8')
      .split('\n')
      .find((line) => line.startsWith("The rest are TypeORM's"));
    const shown = [
      ...tablesUnder('README.md', 'Options')
        .slice(1)
        .flatMap(([names = '']) => namesIn(names)),
      ...namesIn(rest ?? ''),
    ];
    expect(shown.toSorted()).toEqual([...known, 'name'].toSorted());
  });
});

describe('the options of the worker', () => {
  it('are all there with their defaults, and no others', () => {
    const shown = tablesUnder('README.md', 'Work in the background')
      .slice(1)
      .map(([name = '', value = '']) => [namesIn(name)[0], value]);
    const actual = Object.entries(resolveWorkerOptions()).map(([name, value]) => [
      name,
      value === undefined ? 'none' : `\`${inspect(value)}\``,
    ]);
    expect(shown).toEqual(actual);
  });
});
