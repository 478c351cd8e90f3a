import { ConfigurationError } from '../../src/errors.js';
import { resolveWorkerOptions } from '../../src/worker/worker.options.js';

function refusal(options: unknown): string {
  try {
    resolveWorkerOptions(options as never);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as Error).message.replace('FrameForgeWorkerModule cannot start: ', '');
  }
  throw new Error('The options were accepted.');
}

it.each<[unknown, string]>([
  [null, 'its options must be an object.'],
  [{ lease: 5 }, '`lease` is not an option here: remove it, or correct its spelling.'],
  [{ listen: 'false' }, '`listen` must be true or false.'],
  [{ leaseMs: 999 }, '`leaseMs` must be a whole number from 1000 to 2147483647.'],
  [{ leaseMs: 2 ** 31 }, '`leaseMs` must be a whole number from 1000 to 2147483647.'],
  // The worker may wait one and a half times pollMs, so the limit is lower.
  [{ pollMs: 2 ** 31 - 1 }, '`pollMs` must be a whole number from 1 to 1431655764.'],
  [{ maxAttempts: '5' }, '`maxAttempts` must be a whole number from 1 to 2147483647.'],
  [
    { dataSource: 5 },
    '`dataSource` must be a text that is not empty: leave it out for the default.',
  ],
  ...[5, null, {}, { baseMs: 1 }, { baseMs: 1, maxMs: -1 }, { baseMs: 1, maxMs: 1, factor: 2 }].map(
    (backoff): [unknown, string] => [
      { backoff },
      '`backoff` must be { baseMs, maxMs }, each a whole number of milliseconds from 0 to 2147483647.',
    ],
  ),
  ...[5, [], { completedMs: -1 }, { failedMs: 1.5 }, { days: 1 }, { completedMs: 3.2e12 }].map(
    (retention): [unknown, string] => [
      { retention },
      '`retention` must be { completedMs, failedMs }, each a whole number of milliseconds from 0 to 3155760000000, or left out.',
    ],
  ),
])('refuses %j', (options, message) => {
  expect(refusal(options)).toBe(message);
});

it.each(
  ['leaseMs', 'maxAttempts', 'backoff', 'deliveryLeaseMs', 'maxDeliveryAttempts', 'pollMs'].concat(
    'deliveryBackoff',
    'concurrency',
    'deliveryConcurrency',
    'maxRunMs',
    'shutdownMs',
    'listen',
    'retention',
    'dataSource',
  ),
)('refuses a `%s` of a wrong type, and names it', (key) => {
  expect(refusal({ [key]: Symbol('strange') })).toContain(`\`${key}\` must be`);
});

it('uses the default for an option that is left out or undefined', () => {
  expect(resolveWorkerOptions({ leaseMs: undefined, shutdownMs: 0 })).toMatchObject({
    leaseMs: 30_000,
    shutdownMs: 0,
    listen: false,
    dataSource: undefined,
  });
});
