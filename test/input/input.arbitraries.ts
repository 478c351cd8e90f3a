import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { encodeCursor } from '../../src/input/cursor.js';

/** Values that a rule accepts, and values that differ from these by little, often by one character. */
interface Values {
  readonly right: fc.Arbitrary<unknown>;
  readonly near: fc.Arbitrary<unknown>;
}

const UUID = '0190f2a4-5c6e-7abc-8def-0123456789ab';

/** Text of every kind: empty, long, with surrogate pairs, and with characters that cannot be stored. */
export const text: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom('', ' ', '\0', 'a\0b', '\ud800', 'a\udc00', '\ud83c\udfac', '__proto__', 'null'),
  fc.constantFrom(254, 255, 256, 257).map((length) => 'x'.repeat(length)),
  fc.constantFrom(127, 128, 255, 256).map((length) => '🎬'.repeat(length)),
  fc.constantFrom(99_999, 100_000, 100_001).map((length) => 'y'.repeat(length)),
);

const texts: Values = {
  right: fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
    fc.constantFrom('🎬'.repeat(255), 'x'.repeat(255), '\u0001\n', ' '),
  ),
  near: text,
};

const uuids: Values = {
  right: fc.oneof(
    fc.uuid(),
    fc.uuid().map((id) => id.toUpperCase()),
    fc.constantFrom(UUID, UUID.replaceAll(/\w/g, '0'), UUID.replaceAll(/\w/g, 'f')),
  ),
  near: fc.constantFrom(
    '00000000-0000-0000-0000-000000000001',
    UUID.replace('-7', '-9'),
    UUID.replace('-8', '-7'),
    UUID.replaceAll('-', ''),
    `{${UUID}}`,
    ` ${UUID}`,
    `${UUID}\n`,
  ),
};

const urls: Values = {
  right: fc.oneof(
    fc.webUrl({ withFragments: true, withQueryParameters: true }),
    fc.constantFrom(
      's3://bucket/key',
      'http://minio:9000/bucket/key?x=1#y',
      'HTTPS://[::1]:8443/ä/🎬',
      'a+b.c-d://x',
      'https://h/'.padEnd(8_192, 'x'),
    ),
  ),
  near: fc.constantFrom(
    'https:/one-slash',
    '//no-scheme',
    'https://',
    'http://a b',
    'http://a:port/',
    ' https://outer.example',
    'https://line.example/\n',
    'https://nul.example/\0',
    'https://lone.example/\ud800',
    'data:text/plain,x',
    'x',
    'https://h/'.padEnd(8_193, 'x'),
  ),
};

const emails: Values = {
  right: fc.oneof(fc.emailAddress(), fc.constantFrom('ü@exämple.com', '"a b"@example.com')),
  near: fc.constantFrom(
    `${'a'.repeat(60)}@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}.com`,
    `${'a'.repeat(64)}@${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(63)}.com`,
    '"a\r\nBcc: b"@example.com',
    '"\u0001"@example.com',
    '"\ud800"@example.com',
    'a@example.com\n',
    'A <a@example.com>',
    'a@b',
  ),
};

const integers: Values = {
  right: fc.oneof(fc.integer({ min: 1, max: 1_000 }), fc.constantFrom(1, 1_000)),
  near: fc.oneof(
    fc.integer(),
    fc.double(),
    fc.bigInt(),
    fc.constantFrom<unknown>(0, -0, -1, 1_001, 2 ** 31 - 1, 2 ** 31, 2 ** 53, 1e308, 0.5, '1', ''),
    fc.constantFrom(Number.NaN, Infinity, -Infinity, 10_000, 10_001),
  ),
};

const dates = fc.date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true });

const instants: Values = {
  right: fc.oneof(
    dates,
    fc.constantFrom(0, 253_402_300_799_999).map((ms) => new Date(ms)),
    fc.constant(runInNewContext('new Date(0)') as unknown),
  ),
  near: fc.oneof(
    fc.date(),
    fc.constantFrom(-1, 253_402_300_800_000, Number.NaN).map((ms) => new Date(ms)),
    fc.constantFrom<unknown>('2030-01-31T12:00:00Z', 5, Object.create(Date.prototype)),
  ),
};

const cursors: Values = {
  right: fc
    .tuple(dates, uuids.right)
    .map(([createdAt, id]) => encodeCursor({ createdAt, id: String(id) })),
  near: fc.oneof(
    fc
      .tuple(
        fc.oneof(fc.integer(), fc.constantFrom(253_402_300_800_000, 999_999_999_999_999)),
        fc.oneof(uuids.right, uuids.near),
        fc.constantFrom('', '0', ' ', '-'),
      )
      .map(([time, id, before]) => Buffer.from(`${before}${time}.${id}`).toString('base64url')),
    fc.base64String(),
    fc.constant(Buffer.from(`0.${UUID}`).toString('base64')),
  ),
};

const flags: Values = {
  right: fc.boolean(),
  near: fc.constantFrom<unknown>('true', 0, 1, Object(true)),
};

const choices = (...right: string[]): Values => ({
  right: fc.constantFrom(...right),
  near: fc.constantFrom('PENDING', 'done', 'toString', ...right.map((value) => `${value} `)),
});

const json: Values = {
  right: fc
    .dictionary(
      fc.string({ unit: 'grapheme' }),
      fc.jsonValue({ stringUnit: 'grapheme', maxDepth: 3 }),
      {
        maxKeys: 5,
      },
    )
    .map((object) => JSON.parse(JSON.stringify(object)) as unknown),
  near: fc.constantFrom<unknown>(
    [],
    { a: undefined },
    { a: [undefined] },
    { a: Number.NaN },
    { a: 1n },
    { a: new Date(0) },
    { a: '\0' },
    { '\ud800': 1 },
    { a: 'x'.repeat(65_536) },
  ),
};

const VALUES: Readonly<Record<string, Values>> = {
  userId: uuids,
  jobId: uuids,
  notificationId: uuids,
  filename: texts,
  workerId: texts,
  errorMessage: texts,
  videoUrl: urls,
  resultUrl: urls,
  recipientEmail: emails,
  availableAt: instants,
  olderThan: instants,
  createdFrom: instants,
  createdBefore: instants,
  endedFrom: instants,
  endedBefore: instants,
  errorText: texts,
  reason: texts,
  dryRun: flags,
  cursor: cursors,
  parameters: json,
  output: json,
  manager: { right: fc.constant({ dataSource: {} }), near: fc.constant({ dataSource: undefined }) },
  status: choices('pending', 'processing', 'completed', 'failed'),
  deliveryStatus: choices('pending', 'sent', 'failed'),
  notificationType: choices('success', 'failure'),
};

/** Values that no rule expects, but that a caller or an attacker may send. */
const hostile: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, true, false, [], {}, [1], [UUID], new Date(Number.NaN)),
  fc.constantFrom<unknown>(Symbol('x'), () => 1, new Map(), Promise.resolve(1), /x/, Buffer.of(1)),
  fc.constantFrom<unknown>(Object('cat.mp4'), Object(7), Object.create(null)),
  fc.constant({ toString: () => 'cat.mp4', valueOf: () => 7 }),
  fc.anything(),
);

/** Values for the property with this name: mostly right or nearly right, sometimes anything. */
export function valueOf(property: string): fc.Arbitrary<unknown> {
  const { right, near } = VALUES[property] ?? integers;
  const others = Object.values(VALUES).map((values) => values.right);
  return fc.oneof(
    { weight: 16, arbitrary: right },
    { weight: 2, arbitrary: near },
    { weight: 1, arbitrary: hostile },
    { weight: 1, arbitrary: fc.oneof(...others) },
  );
}
