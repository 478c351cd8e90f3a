import { Controller, Get, Param, Res } from '@nestjs/common';
import type { INestApplication, Type } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import request from 'supertest';
import * as api from '../../src/index.js';
import type { FrameForgeErrorCode } from '../../src/index.js';

const JOB = '0190f2a4-5c6e-7abc-8def-0123456789ab';
/** A text that no response may contain: the database's address, its statements, and other users' values. */
const SECRET = 'select "passwordHash" from users at db.internal:5432 as frameforge_app';
const cause = Object.assign(new Error(SECRET), { query: SECRET, detail: SECRET, hint: SECRET });

const unavailable = 'The service is temporarily unavailable. Try again later.';
const internal = 'Internal server error';
const ERRORS: Record<FrameForgeErrorCode, [api.FrameForgeError, number, string]> = {
  INVALID_INPUT: [
    new api.InvalidInputError('createJob', [{ property: 'userId', message: 'must be a UUID' }]),
    400,
    'createJob was given invalid input, and did nothing: userId must be a UUID.',
  ],
  USER_NOT_FOUND: [
    new api.UserNotFoundError([JOB]),
    404,
    `No user ${JOB} exists, so no job was created. ` +
      `Create the user first, in the same transaction or in an earlier one.`,
  ],
  USER_CONFLICT: [
    new api.UserConflictError('email'),
    409,
    'Another user has this e-mail address already: log in as that user, or use another address.',
  ],
  JOB_NOT_FOUND: [
    new api.JobNotFoundError(JOB),
    404,
    `Job ${JOB} does not exist, or belongs to another user. It may have been deleted.`,
  ],
  NOTIFICATION_NOT_FOUND: [
    new api.NotificationNotFoundError(JOB),
    404,
    `Notification ${JOB} does not exist. It is deleted together with its job.`,
  ],
  INVALID_JOB_TRANSITION: [
    new api.InvalidJobTransitionError(JOB, 'retried', api.JobStatus.PENDING, 0),
    409,
    `Job ${JOB} cannot be retried: it is pending (run 0). Claim or start it first.`,
  ],
  INVALID_NOTIFICATION_TRANSITION: [
    new api.InvalidNotificationTransitionError(JOB, 'redelivered', api.DeliveryStatus.SENT, 3),
    409,
    `Notification ${JOB} cannot be redelivered: it is sent (delivery 3). ` +
      `Only one that has failed for good can be delivered again.`,
  ],
  LEASE_LOST: [
    new api.LeaseLostError({ jobId: JOB, status: api.JobStatus.COMPLETED, runNumber: 2 }),
    409,
    `The lease on job ${JOB} is lost: the job is completed in run 2. Drop the result of ` +
      `your run. If another worker holds the job now, that worker finishes it.`,
  ],
  STALE_ENTITY: [
    new api.StaleEntityError({ jobId: JOB, status: 'failed', runNumber: 2 }, 'pending', 1),
    409,
    `A save() of job ${JOB} was refused, and wrote nothing of it: the job is failed in run 2 now, ` +
      `and the entity is pending in run 1. If you mean to change the status, call startJob, completeJob, ` +
      `failJob, releaseJob, cancelJob or retryJob of JobService. Otherwise read the job again and save ` +
      `that, or write only what you want to change: repository.update(jobId, { filename }).`,
  ],
  JOB_CANCELLED: [
    new api.JobCancelledError(JOB, 2),
    409,
    `Job ${JOB} was cancelled. Stop run 2: nothing of it will be recorded. ` +
      `retryJob makes the job pending again.`,
  ],
  JOB_CONFLICT: [
    new api.JobConflictError(JOB),
    409,
    `Job ${JOB} exists already, with another userId, filename, videoUrl or parameters. ` +
      `Use a new jobId for a new job. Use the same jobId only to repeat the same call.`,
  ],
  TRANSACTION_CONFLICT: [
    new api.TransactionConflictError('createJob', { cause }),
    503,
    unavailable,
  ],
  DATABASE_UNAVAILABLE: [
    new api.DatabaseUnavailableError('createJob', { cause }),
    503,
    unavailable,
  ],
  STATEMENT_TIMEOUT: [new api.StatementTimeoutError('createJob', { cause }), 503, unavailable],
  RUN_TIMEOUT: [
    new api.RunTimeoutError(JOB, 2, 60_000),
    504,
    `Run 2 of job ${JOB} took longer than its limit of 60000 ms, and was ended. ` +
      `Raise \`maxRunMs\` of @VideoJobProcessor if such work needs longer.`,
  ],
  MIGRATION_FAILED: [new api.MigrationError(SECRET, { cause }), 500, internal],
  CONFIGURATION_INVALID: [new api.ConfigurationError(SECRET, { cause }), 500, internal],
};
const CODES = Object.keys(ERRORS) as FrameForgeErrorCode[];

@Controller()
class Failing {
  @Get('fail/:code')
  fail(@Param('code') code: FrameForgeErrorCode): void {
    throw ERRORS[code][0];
  }

  @Get('late')
  late(@Res() response: { write(text: string): void }): void {
    response.write('half an answer');
    throw ERRORS.JOB_NOT_FOUND[0];
  }

  @Get('other')
  other(): void {
    throw new Error(SECRET);
  }
}

const logged: string[] = [];
const logger = {
  log: () => {},
  warn: () => {},
  error: (...text: unknown[]) => void logged.push(text.join(' ')),
};

async function serve(filter: 'global' | 'injected'): Promise<INestApplication> {
  const providers =
    filter === 'injected' ? [{ provide: APP_FILTER, useClass: api.FrameForgeExceptionFilter }] : [];
  const module = await Test.createTestingModule({ controllers: [Failing], providers }).compile();
  const app = module.createNestApplication();
  if (filter === 'global') app.useGlobalFilters(new api.FrameForgeExceptionFilter());
  app.useLogger(logger);
  return app.init();
}

describe.each(['global', 'injected'] as const)('the filter, %s', (kind) => {
  let app: INestApplication;
  beforeAll(async () => {
    app = await serve(kind);
  });
  afterAll(() => app.close());
  const get = (path: string) => request(app.getHttpServer() as never).get(path);

  it.each(CODES)('maps %s', async (code) => {
    const [error, statusCode, message] = ERRORS[code];
    logged.length = 0;
    const response = await get(`/fail/${code}`).expect(statusCode);
    expect(response.headers['content-type']).toMatch(/^application\/json/);
    expect(response.body).toEqual({
      statusCode,
      code,
      message,
      ...(code === 'INVALID_INPUT'
        ? { problems: [{ property: 'userId', message: 'must be a UUID' }] }
        : {}),
    });
    for (const secret of ['passwordHash', 'db.internal', 'frameforge_app', 'stack']) {
      expect(response.text).not.toContain(secret);
    }
    // An operator needs to know of every error except the mistakes of clients.
    expect(logged.length > 0).toBe(statusCode >= 500);
    if (statusCode >= 500) expect(logged.join('\n')).toContain(error.message);
  });

  it('ends an answer that was partly sent', async () => {
    const error = await get('/late').catch((reason: unknown) => reason);
    expect((error as { text?: string }).text).toBe('half an answer');
  });

  it('leaves errors that are not of this package to Nest', async () => {
    const { body } = await get('/other').expect(500);
    expect(body).toEqual({ statusCode: 500, message: internal });
  });
});

it('has a status for every error of this package', () => {
  const classes = Object.values(api as unknown as Record<string, Type>).filter(
    (exported) => exported.prototype instanceof api.FrameForgeError,
  );
  expect(CODES.map((code) => ERRORS[code][0].constructor).toSorted(byName)).toEqual(
    classes.toSorted(byName),
  );
  for (const code of CODES) expect(ERRORS[code][0]).toMatchObject({ code });
});

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

it('lets the application make the body from the error and the request', async () => {
  @Controller()
  class Refusing {
    @Get('broken')
    broken(): never {
      throw ERRORS.JOB_NOT_FOUND[0];
    }

    @Get(':code')
    fail(@Param('code') code: FrameForgeErrorCode): never {
      throw ERRORS[code][0];
    }
  }
  const module = await Test.createTestingModule({ controllers: [Refusing] }).compile();
  const app = module.createNestApplication();
  app.useLogger(logger);
  const filter = new api.FrameForgeExceptionFilter({
    body: ({ statusCode: status, code, message: detail }, error, host) => {
      const { url } = host.switchToHttp().getRequest<{ url: string }>();
      if (url === '/broken') throw new Error('no body');
      return { status, detail, type: `https://example.com/errors/${code}`, instance: url, error };
    },
  });
  app.useGlobalFilters(filter);
  await app.init();
  try {
    const server = app.getHttpServer() as never;
    const { body } = await request(server).get('/JOB_NOT_FOUND').expect(404);
    const [error, , detail] = ERRORS.JOB_NOT_FOUND;
    const type = 'https://example.com/errors/JOB_NOT_FOUND';
    const seen = { jobId: JOB, code: error.code };
    expect(body).toEqual({ status: 404, detail, type, instance: '/JOB_NOT_FOUND', error: seen });
    logged.length = 0;
    const answer = await request(server).get('/broken').expect(404);
    expect(answer.body).toEqual({ statusCode: 404, code: 'JOB_NOT_FOUND', message: detail });
    expect(logged.join()).toContain(
      'The option `body` of FrameForgeExceptionFilter failed: no body',
    );
  } finally {
    await app.close();
  }
});
