import { serverName } from '../../src/connection/server-name.js';
import { DatabaseUnavailableError, MigrationError } from '../../src/errors.js';
import { fromDriver } from '../../src/errors.driver.js';
import { clauseOf, readable, reasonOf } from '../../src/errors.text.js';

/** An error with two errors inside, each of which has two errors inside, and so on. */
function doubling(key: 'cause' | 'errors', depth: number): Error {
  let inner: Error = new Error('');
  for (let level = 0; level < depth; level++) {
    const next = new Error('');
    Object.assign(
      next,
      key === 'cause' ? { cause: inner, driverError: inner } : { errors: [inner, inner] },
    );
    inner = next;
  }
  return inner;
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const throwing = Object.defineProperties(new Error('x'), {
  message: {
    get: () => {
      throw new Error('no message');
    },
  },
  code: {
    get: () => {
      throw new Error('no code');
    },
  },
  driverError: {
    get: () => {
      throw new Error('no cause');
    },
  },
});

const UNREADABLE = 'a value was thrown that cannot be shown as text';

describe.each<[string, unknown]>([
  ['errors that double at each level', doubling('errors', 60)],
  ['causes that double at each level', doubling('cause', 60)],
  [
    'an error that is one of its own errors',
    (() => {
      const error = new AggregateError([], '');
      error.errors = [error, error];
      return error;
    })(),
  ],
  ['an AggregateError without errors', new AggregateError([])],
  ['errors: []', { errors: [] }],
  ['errors of null', { errors: [null, undefined, 1] }],
  ['a revoked proxy', revoked()],
  ['a list with a revoked proxy', { errors: [revoked()] }],
  ['properties that throw', throwing],
  ['Object.create(null)', Object.create(null)],
  ['a message of 100 MB', new Error('x'.repeat(100_000_000))],
  ['undefined', undefined],
  ['null', null],
  ['a symbol', Symbol('s')],
])('%s', (_, thrown) => {
  it('is read in bounded time and length, and never throws', () => {
    expect(typeof reasonOf(thrown)).toBe('string');
    expect(reasonOf(thrown).length).toBeLessThanOrEqual(10_000);
    expect(clauseOf(thrown)).not.toBe('');
    expect(() => fromDriver(thrown, 'createJob')).not.toThrow();
    expect(() => readable(thrown)).not.toThrow();
    expect(() => readable(thrown) instanceof Error).not.toThrow();
    expect(() => new DatabaseUnavailableError('createJob', { cause: thrown })).not.toThrow();
  });
});

it('a value that cannot be shown as text is reported as such', () => {
  expect(reasonOf(revoked())).toBe(UNREADABLE);
  expect(readable(revoked())).toEqual(new Error(UNREADABLE));
});

it('an AggregateError of refusals is a database that is away, and one without errors is not', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  expect(fromDriver(new AggregateError([refused, refused]), 'x')).toBeInstanceOf(
    DatabaseUnavailableError,
  );
  expect(fromDriver(new AggregateError([]), 'x')).not.toBeInstanceOf(DatabaseUnavailableError);
  expect(fromDriver(new MigrationError('m'), 'x')).toBeInstanceOf(MigrationError);
});

describe('the name of a server', () => {
  it.each([
    'postgres://u:12/34@h/db',
    'postgres://u:s3cret%zz@h/db',
    'postgres://u:p%40ss@h/%zz',
    'postgres://u:pa@ss@h:5432/db?x=s3cret@',
    'not a URL with s3cret',
  ])('shows nothing of a URL that is not right: %s', (url) => {
    const name = serverName({ type: 'postgres', url });
    expect(name).not.toMatch(/12|34|s3cret|pa|ss@|zz/);
    expect(serverName({ type: 'postgres', replication: { master: { url }, slaves: [] } })).toBe(
      name,
    );
  });

  it('is of host, port and database', () => {
    expect(serverName({ type: 'postgres', url: 'postgres://u:p@h:6/d%C3%A9' })).toBe('h:6/dé');
    expect(serverName({ type: 'postgres', host: 'h', database: 'd' })).toBe('h:5432/d');
  });
});
