import * as fc from 'fast-check';
import { jsonObject, MAX_JSON_BYTES } from '../../src/input/json.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

/** An object as `jsonb` stores it, and its size in bytes. */
async function asJsonb(object: unknown): Promise<{ held: unknown; bytes: number }> {
  const [row] = await h.dataSource.query<[{ held: unknown; bytes: number }]>(
    `SELECT $1::jsonb AS held, octet_length(($1::jsonb)::text) AS bytes`,
    [JSON.stringify(object)],
  );
  return row;
}

/** A text that leaves this many bytes of the limit free. */
const bytesTo = (bytes: number): string => 'x'.repeat(MAX_JSON_BYTES - bytes);

it('accepts objects exactly up to the limit, as PostgreSQL computes the size', async () => {
  const numbers = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(1e21, -1.5e21, 1e-7, -1.25e-300, 1.7976931348623157e308, 5e-324, -0, 0.1),
  );
  const value = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('"', '\\', '/', '\u0001\b\f\n\r\t\u007f\u2028', '🎬', '\uffff'),
      numbers,
      fc.constantFrom(null, true, false),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.string({ unit: 'grapheme' }), tie('value'), { maxKeys: 4 }),
    ),
  })).value;
  await fc.assert(
    fc.asyncProperty(value, async (part) => {
      const { held, bytes } = await asJsonb({ part, pad: '' });
      expect(jsonObject.copy?.({ part, pad: '' })).toEqual(held);
      expect(jsonObject.accepts({ part, pad: bytesTo(bytes) })).toBe(true);
      expect(jsonObject.accepts({ part, pad: `${bytesTo(bytes)}x` })).toBe(false);
    }),
    { numRuns: 300 },
  );
});

const nested = (depth: number): object => (depth === 1 ? {} : { in: nested(depth - 1) });
const cycle: Record<string, unknown> = {};
cycle['in'] = [cycle];
/**
 * An object of a hundred arrays, each with the array before it twice: written out, it has 2 to the power of 99
 * values.
 */
const doubled = Array.from({ length: 99 }).reduce<unknown>((part) => [part, part], 1);

it.each<[string, unknown]>([
  ['an array', []],
  ['a text', '{}'],
  ['a date', new Date(0)],
  ['a map', new Map([['a', 1]])],
  ['a property that is undefined', { a: undefined }],
  ['a gap in an array', { a: [1, , 2] }], // oxlint-disable-line no-sparse-arrays
  ['NaN', { a: Number.NaN }],
  ['Infinity', { a: [-Infinity] }],
  ['a BigInt', { a: 1n }],
  ['a symbol', { a: Symbol('x') }],
  ['a function', { a: () => 1 }],
  ['a date inside', { a: { b: new Date(0) } }],
  ['an object with toJSON', { toJSON: () => 1 }],
  ['NUL in a text', { a: 'x\0' }],
  ['NUL in a key', { 'x\0': 1 }],
  ['a lone surrogate in a text', { a: ['\ud800'] }],
  ['a lone surrogate in a key', { '\udc00': 1 }],
  ['a cycle', cycle],
  ['too many levels', nested(101)],
  ['the same part again and again', { doubled }],
  ['a promise', Promise.resolve({})],
])('refuses %s', (_, value) => {
  expect(jsonObject.accepts(value)).toBe(false);
  expect(jsonObject.copy?.(value)).toBeUndefined();
});

it('accepts a hundred levels, and so does PostgreSQL', async () => {
  expect(jsonObject.copy?.(nested(100))).toEqual((await asJsonb(nested(100))).held);
});

class Options {
  format = 'jpg';
  width?: number;
  constructor() {
    // A class that declares a property without a value does this.
    Object.defineProperty(this, 'width', { value: undefined, enumerable: true });
  }
}

it('leaves out properties that a class declares and that have no value', () => {
  expect(jsonObject.copy?.(new Options())).toStrictEqual({ format: 'jpg' });
});

it('copies the object, so a later change has no effect', () => {
  const given = JSON.parse('{"a": {"b": [1]}, "__proto__": {"c": 2}}') as { a: { b: unknown[] } };
  const copy = jsonObject.copy?.(given) as object;
  given.a.b.push(Number.NaN);
  expect(JSON.stringify(copy)).toBe('{"a":{"b":[1]},"__proto__":{"c":2}}');
  expect(Object.getPrototypeOf(copy)).toBe(Object.prototype);
});
