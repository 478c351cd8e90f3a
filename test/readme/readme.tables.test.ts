import { Controller, Get, Param } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { firstValueFrom, isObservable } from 'rxjs';
import request from 'supertest';
import * as api from '../../src/index.js';
import { RULES } from '../../src/database.rules.js';
import { resolveOptions } from '../../src/database.options.js';
import { resolveWorkerOptions } from '../../src/worker/worker.options.js';
import { COMMANDS, USAGE } from '../../src/cli/cli.arguments.js';
import { REPOSITORY } from '../consumer/consumer.project.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { blocksOf, namesIn, tablesUnder } from './readme.blocks.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const methodsOf = (service: { prototype: object }): string[] =>
  Object.getOwnPropertyNames(service.prototype).filter((name) => name !== 'constructor');

describe('the tables of the services', () => {
  const rows = tablesUnder('docs/reference/services.md', 'Services');
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
    ['UserService', api.UserService],
  ] as const)('have every method of %s', (name, service) => {
    const publicMethods = methodsOf(service).filter(
      // `private` exists only for the compiler.
      (method) => !privateMethods(service.name).includes(method),
    );
    const shown = rowsOf(name).map(([first = '']) => /^`(\w+)\(/.exec(first)?.[1]);
    expect(shown).toEqual(publicMethods);
  });

  it('say which methods join a transaction', async () => {
    const shown = ['JobService', 'NotificationService', 'UserService'].flatMap(rowsOf);
    expect(shown.length).toBeGreaterThan(15);
    const { manager } = h.dataSource;
    const users = new api.UserService(h.dataSource);
    for (const [first = '', , joins] of shown) {
      const method = /\w+/.exec(first)?.[0] ?? '';
      const service = [h.jobs, h.notifications, users].find(
        (one) => method in one,
      ) as unknown as Record<string, (...args: unknown[]) => unknown>;
      // This manager is of another data source. A method that joins transactions refuses it before all other checks.
      // `{ userId }` stands in the options too.
      const listed = /\((.*)\)/.exec(first)?.[1]?.split(/, (?!\w+ \})/) ?? [];
      const parameters = listed.filter((name) => name !== '{ userId }').length;
      const foreign = { manager: Object.create(manager, { dataSource: { value: undefined } }) };
      const args = Array.from({ length: parameters }, () => ({
        errorMessage: '?',
      }));
      const call = async (): Promise<unknown> => {
        const answer = service[method]?.(...args, foreign);
        return isObservable(answer) ? firstValueFrom(answer) : answer;
      };
      const refusal = await call().then(
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

/** The names of private members, read from the source. */
function privateMethods(service: string): string[] {
  const room = `${service.replace('Service', '').toLowerCase()}`;
  const file = `${room}s/${room}.service.ts`;
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
    new api.UserConflictError('email'),
    new api.InvalidJobTransitionError(id, 'retried', state.status, state.runNumber),
    new api.InvalidNotificationTransitionError('x', 'redelivered', 'sent', 1),
    new api.LeaseLostError({ jobId: id, ...state }),
    new api.StaleEntityError({ jobId: id, ...state }, 'pending', 0),
    new api.JobCancelledError(id, 1),
    new api.JobConflictError(id),
    new api.TransactionConflictError('createJob'),
    new api.DatabaseUnavailableError('createJob'),
    new api.StatementTimeoutError('createJob'),
    new api.RunTimeoutError('x', 1, 1),
    new api.MigrationError('failed'),
    new api.ConfigurationError('wrong'),
  ];

  it('shows for every error its code and its HTTP status', async () => {
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
      const shown = tablesUnder('docs/reference/errors.md', 'Errors').slice(1);
      expect(shown.map((cells) => cells.slice(0, 3))).toEqual(actual);
    } finally {
      await app.close();
    }
  });

  it('lists every error', () => {
    const classes = Object.values(api).filter(
      (value) => typeof value === 'function' && value.prototype instanceof api.FrameForgeError,
    );
    expect(new Set(ERRORS.map((error) => error.constructor))).toEqual(new Set(classes));
  });
});

describe('the options', () => {
  const url = 'postgres://user@host/name';

  it('have the defaults that the page shows', () => {
    const { dataSource, boot, ...rest } = resolveOptions({ url }, {});
    const actual: Record<string, unknown> = {
      synchronize: false,
      dropSchema: false,
      ...dataSource,
      ...boot,
      ...rest,
    };
    const shown = tablesUnder('docs/reference/options.md', 'Options of the database')
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
    const rest = readFileSync(join(REPOSITORY, 'docs/reference/options.md'), 'utf8')
      .split('\n')
      .find((line) => line.startsWith("The rest are TypeORM's"));
    const shown = [
      ...tablesUnder('docs/reference/options.md', 'Options of the database')
        .slice(1)
        .flatMap(([names = '']) => namesIn(names)),
      ...namesIn(rest ?? ''),
    ];
    expect(shown.toSorted()).toEqual([...known, 'name'].toSorted());
  });
});

describe('the options of the worker', () => {
  it('are all there with their defaults, and no others', () => {
    const shown = tablesUnder('docs/reference/options.md', 'Options of the worker')
      .slice(1)
      .map(([name = '', value = '']) => [namesIn(name)[0], value]);
    const actual = Object.entries(resolveWorkerOptions()).map(([name, value]) => [
      name,
      value === undefined ? 'none' : `\`${inspect(value)}\``,
    ]);
    expect(shown).toEqual(actual);
  });
});

describe('the metrics', () => {
  it('are all there, with their kinds and units', async () => {
    const [counts, { Telemetry }] = await Promise.all([
      import('../../src/jobs/job.metrics.js'),
      import('../../src/worker/telemetry.js'),
    ]);
    const made: string[][] = [];
    const note =
      (kind: string) =>
      (name: string, { unit = '' } = {}) => {
        made.push([`\`${name}\``, kind, `\`${unit}\``]);
        return { add: () => {}, record: () => {}, addCallback: () => {} };
      };
    const meter = {
      createCounter: note('counter'),
      createUpDownCounter: note('up-down counter'),
      createHistogram: note('histogram'),
      createObservableGauge: note('gauge'),
    };
    const telemetry = new Telemetry(undefined, meter as never);
    telemetry.observeQueues(async () => []);
    for (const count of Object.keys(telemetry.counts)) telemetry.count(count as never);
    expect(counts.INSTRUMENTATION).toBe('@frameforge/shared-types');
    // This metric is counted where jobs are created: see job.metrics.ts.
    made.push(['`frameforge.jobs.created`', 'counter', '`{job}`']);
    const shown = tablesUnder('docs/reference/metrics.md', 'Metrics').slice(1);
    expect(shown.map((cells) => cells.slice(0, 3)).toSorted()).toEqual(made.toSorted());
  });
});

describe('the command line', () => {
  const rows = tablesUnder('docs/reference/cli.md', 'Command line').filter(([first = '']) =>
    first.startsWith('`'),
  );
  // Only the first cell of a row names options. The others name times and values.
  const shown = rows.flatMap(([first = '']) => namesIn(first));

  it('has every command', () => {
    expect(shown.filter((name) => !name.startsWith('-'))).toEqual([...COMMANDS]);
  });

  it('has every option', () => {
    const lines = USAGE.split('\n').filter((line) => line.startsWith('  -'));
    const known = lines.flatMap((line) =>
      [...(line.split(/ {2,}for /)[0] ?? '').matchAll(/(?<![\w-])--?[a-z-]+/g)].map(
        ([option]) => option,
      ),
    );
    expect(shown.filter((name) => name.startsWith('-'))).toEqual(known);
  });
});

describe('the page on Kubernetes', () => {
  const yaml =
    blocksOf('docs/guides/kubernetes.md').find(({ kind }) => kind === 'yaml')?.text ?? '';
  const numberOf = (pattern: RegExp): number => Number(pattern.exec(yaml)?.[1] ?? Number.NaN);

  it('gives a pod more time than an orderly shutdown takes', () => {
    const { boot } = resolveOptions({ url: 'postgres://user@host/name' }, {});
    const endMs = resolveWorkerOptions().shutdownMs + boot.shutdownTimeoutMs;
    const given =
      numberOf(/terminationGracePeriodSeconds: (\d+)/) - numberOf(/sleep: \{ seconds: (\d+)/);
    expect(given * 1_000).toBeGreaterThan(endMs);
  });

  it('gives a boot more time than it takes', () => {
    const { boot } = resolveOptions({ url: 'postgres://user@host/name' }, {});
    const startup =
      numberOf(/startupProbe:[^]*?periodSeconds: (\d+)/) * numberOf(/failureThreshold: (\d+)/);
    expect(startup * 1_000).toBeGreaterThan(boot.connectRetryMs + boot.migrationsLockTimeoutMs);
  });
});
