import { firstValueFrom, isObservable } from 'rxjs';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import { UserService } from '../../src/users/user.service.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { DatabaseWatch, ID, input, job, result } from './watch.js';

type Call = (...args: unknown[]) => Promise<unknown>;

let h: Harness;
let watch: DatabaseWatch;
beforeAll(async () => {
  h = await openHarness();
  watch = new DatabaseWatch(h);
});
afterAll(() => h.close());

const delivery = { notificationId: ID, deliveryNumber: 1 };

it('the watch of this test notices a call that reaches the database', async () => {
  const before = watch.taken;
  await h.jobs.countJobs();
  expect(watch.taken).toBe(before + 1);
});

/** Arguments that each method takes, by kind, so that one after the other can be made wrong. */
type Kind = 'id' | 'filter' | 'input' | 'optional' | 'list' | 'options' | 'manager' | 'function';
const JOB_METHODS: Readonly<Record<string, readonly (readonly [Kind, unknown])[]>> = {
  createJob: [
    ['input', input],
    ['options', {}],
  ],
  createJobs: [
    ['list', [input]],
    ['options', {}],
  ],
  getJob: [
    ['id', ID],
    ['options', {}],
  ],
  listJobs: [
    ['optional', {}],
    ['options', {}],
  ],
  countJobs: [
    ['optional', {}],
    ['options', {}],
  ],
  startJob: [
    ['id', ID],
    ['optional', {}],
  ],
  claimJobs: [['optional', {}]],
  extendLeases: [
    ['list', [job]],
    ['input', { leaseMs: 1 }],
  ],
  completeJob: [
    ['input', job],
    ['input', result],
    ['options', {}],
  ],
  completeJobs: [
    ['list', [{ job, result }]],
    ['options', {}],
  ],
  failJob: [
    ['input', job],
    ['input', { errorMessage: 'x' }],
    ['options', {}],
  ],
  releaseJob: [
    ['input', job],
    ['options', {}],
  ],
  retryJob: [
    ['id', ID],
    ['options', {}],
  ],
  cancelJob: [
    ['id', ID],
    ['optional', {}],
    ['options', {}],
  ],
  reportProgress: [['list', [{ job, percent: 1 }]]],
  whileHeld: [
    ['input', job],
    ['manager', undefined],
    ['function', () => {}],
  ],
  watchJob: [
    ['id', ID],
    ['optional', {}],
  ],
  watchJobs: [['input', { userId: ID }]],
  pauseProcessing: [['optional', {}]],
  resumeProcessing: [],
  retryJobs: [['filter', {}]],
  cancelJobs: [['filter', {}]],
  listAttemptErrors: [
    ['id', ID],
    ['options', {}],
  ],
  pruneJobs: [['input', { olderThan: new Date(0) }]],
};
const NOTIFICATION_METHODS: typeof JOB_METHODS = {
  logNotification: [
    ['input', { jobId: ID, notificationType: 'success' }],
    ['options', {}],
  ],
  listNotifications: [
    ['optional', {}],
    ['options', {}],
  ],
  claimNotifications: [['optional', {}]],
  redeliver: [
    ['id', ID],
    ['options', {}],
  ],
  redeliverNotifications: [['filter', {}]],
  markSent: [
    ['input', delivery],
    ['options', {}],
  ],
  markFailed: [
    ['input', delivery],
    ['input', { errorMessage: 'x' }],
    ['options', {}],
  ],
};

const USER_METHODS: typeof JOB_METHODS = {
  createUser: [
    ['input', { username: 'ann', email: 'ann@example.com', passwordHash: 'x' }],
    ['options', {}],
  ],
  findForLogin: [
    ['input', { username: 'ann' }],
    ['options', {}],
  ],
  updateUser: [
    ['id', ID],
    ['input', { passwordHash: 'x' }],
    ['options', {}],
  ],
};

const NO_OBJECT: unknown[] = [
  null,
  5,
  Number.NaN,
  'text',
  true,
  5n,
  Symbol('x'),
  () => ({}),
  [],
  [1],
];
const STRANGE: unknown[] = [new Date(), new Map(), Promise.resolve({}), { surplus: 1 }];
const WRONG: Readonly<Record<Kind, readonly unknown[]>> = {
  id: [undefined, null, 5, {}, [], [ID], '', 'x', `${ID}x`, ` ${ID}`, Object(ID)],
  input: [undefined, {}, ...NO_OBJECT, ...STRANGE],
  filter: [undefined, ...NO_OBJECT, ...STRANGE],
  optional: [...NO_OBJECT, ...STRANGE],
  list: [
    undefined,
    null,
    5,
    'ab',
    {},
    { length: 1 },
    new Set([input]),
    [undefined],
    [[]],
    [null, 5],
  ],
  manager: [undefined, ...NO_OBJECT, {}, { dataSource: {} }],
  function: [undefined, null, 5, {}, 'text'],
  options: [
    ...NO_OBJECT,
    ...STRANGE,
    { manger: {} },
    { manager: 5 },
    { manager: {} },
    { manager: { dataSource: {} } },
  ],
};

describe.each([
  ['JobService', JobService, JOB_METHODS, ['keepLease']],
  ['NotificationService', NotificationService, NOTIFICATION_METHODS, ['settle']],
  ['UserService', UserService, USER_METHODS, []],
] as const)('%s', (name, Service, methods, hidden) => {
  it('has each of its methods in the table of this test', () => {
    const all = Object.getOwnPropertyNames(Service.prototype).filter(
      (method) => method !== 'constructor' && !(hidden as readonly string[]).includes(method),
    );
    expect(Object.keys(methods).toSorted()).toEqual(all.toSorted());
  });

  it.each(Object.keys(methods))(
    '%s refuses arguments of the wrong kind by rejecting',
    async (method) => {
      const services = {
        JobService: h.jobs,
        NotificationService: h.notifications,
        UserService: h.users,
      };
      const service = services[name] as unknown as Record<string, Call>;
      const kinds = methods[method] ?? [];
      // A method that returns a stream reports the refusal as an error of the stream.
      const call = (...args: unknown[]): Promise<unknown> => {
        const answer: unknown = service[method]?.(...args);
        return isObservable(answer) ? firstValueFrom(answer) : (answer as Promise<unknown>);
      };
      for (const [position, [kind]] of kinds.entries()) {
        for (const wrong of WRONG[kind]) {
          const args = kinds.map(([, right], index) => (index === position ? wrong : right));
          const problems = await watch.problemsOf(async () => call(...args));
          expect(problems.length).toBeGreaterThan(0);
        }
      }
      // The method must reject and not throw. This call is not in an async function, so a throw would fail the test.
      expect(call(Symbol('x'), Symbol('y')).catch(() => 'rejected')).toBeInstanceOf(Promise);
    },
  );
});
