import type { Rule } from './rules.js';
import { isStorable } from './rules.js';

/** The most bytes of a JSON object, in the text that PostgreSQL writes for a `jsonb`. A CHECK of the tables enforces it. */
export const MAX_JSON_BYTES = 65_536;

/** How deep objects and arrays may be nested. PostgreSQL's stack allows some thousands. */
const MAX_DEPTH = 100;

/** A JSON object that a `jsonb` column can hold unchanged. The copy is a new, plain object. */
export const jsonObject: Rule = {
  name: 'jsonObject',
  message:
    `must be an object of JSON values: text without NUL characters or lone surrogates, finite numbers, ` +
    `true, false, null, and arrays and objects of these, up to ${MAX_DEPTH} deep; ` +
    `at most ${MAX_JSON_BYTES} bytes, as PostgreSQL writes it`,
  openApi: { type: 'object', additionalProperties: true },
  accepts: (value) => copyOf(value) !== undefined,
  copy: copyOf,
};

/** Thrown at the first value that JSON, or `jsonb`, cannot hold. */
class NotJson extends Error {}

/** Copies a value. @returns undefined if it is not an object that can be stored */
function copyOf(value: unknown): object | undefined {
  if (!isJsonObject(value)) return undefined;
  const left = { bytes: MAX_JSON_BYTES };
  try {
    return copyObject(value, left, 1);
  } catch (error) {
    if (error instanceof NotJson) return undefined;
    throw error;
  }
}

/** The bytes that are left. They also limit the work, because an object may refer to one part a million times. */
type Left = { bytes: number };

function copyValue(value: unknown, left: Left, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new NotJson();
  if (typeof value === 'string') {
    if (!isStorable(value)) throw new NotJson();
    take(left, lengthOfText(value, left));
    return value;
  }
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new NotJson();
    // JSON has no -0, so it becomes 0.
    const number = value === 0 ? 0 : value;
    take(left, lengthOfNumber(number));
    return number;
  }
  if (value === null || typeof value === 'boolean') {
    take(left, String(value).length);
    return value;
  }
  if (Array.isArray(value)) {
    take(left, lengthOfFrame(value.length));
    return Array.from(value, (entry) => copyValue(entry, left, depth + 1));
  }
  if (isJsonObject(value)) return copyObject(value, left, depth);
  throw new NotJson();
}

function copyObject(object: object, left: Left, depth: number): object {
  const prototype: unknown = Object.getPrototypeOf(object);
  const isPlain = prototype === null || prototype === Object.prototype;
  const entries: [string, unknown][] = [];
  for (const key of Object.keys(object)) {
    const value = (object as Record<string, unknown>)[key];
    // A property that a class declares and that nobody has set.
    if (value === undefined && !isPlain) continue;
    if (!isStorable(key)) throw new NotJson();
    take(left, lengthOfText(key, left) + ': '.length);
    entries.push([key, copyValue(value, left, depth + 1)]);
  }
  take(left, lengthOfFrame(entries.length));
  // An assignment would lose a property that is called `__proto__`.
  return Object.fromEntries(entries);
}

/** Whether JSON keeps an object as it is. Dates, maps and objects with `toJSON` would change. */
const isJsonObject = (value: unknown): value is object =>
  typeof value === 'object' &&
  value !== null &&
  Object.prototype.toString.call(value) === '[object Object]' &&
  typeof (value as { toJSON?: unknown }).toJSON !== 'function';

function take(left: Left, bytes: number): void {
  left.bytes -= bytes;
  if (left.bytes < 0) throw new NotJson();
}

/** The bytes of the brackets and of the separators between the entries, as in `[1, 2]`. */
const lengthOfFrame = (entries: number): number => 2 + 2 * Math.max(entries - 1, 0);

/** The bytes of a text. PostgreSQL escapes the same characters as JavaScript. */
function lengthOfText(text: string, { bytes }: Left): number {
  return text.length > bytes ? text.length : Buffer.byteLength(JSON.stringify(text));
}

/** The bytes of a number. PostgreSQL writes all zeros where JavaScript writes `1e+21` or `1e-7`. */
function lengthOfNumber(number: number): number {
  const text = String(number);
  const [, sign = '', digits = '', exponent] = /^(-?)([\d.]+)(?:e([+-]\d+))?$/.exec(text) ?? [];
  if (exponent === undefined) return text.length;
  const power = Number(exponent);
  const significant = digits.replace('.', '').length;
  return sign.length + (power > 0 ? power + 1 : '0.'.length - power - 1 + significant);
}
