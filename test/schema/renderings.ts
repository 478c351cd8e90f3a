import { inspect } from 'node:util';
import { serialize } from 'node:v8';
import { instanceToPlain } from 'class-transformer';

export const SECRET = '$argon2id$v=19$secret';

/** Every own property, at any depth, with the values that getters return. */
function walk(value: unknown, seen = new Set<unknown>()): unknown[] {
  if (typeof value !== 'object' || value === null || seen.has(value)) return [value];
  seen.add(value);
  const entries = value instanceof Map ? [...value] : [];
  return [
    ...Reflect.ownKeys(value).flatMap((key) => [
      key,
      ...walk((value as Record<PropertyKey, unknown>)[key], seen),
    ]),
    ...entries.flatMap((entry) => walk(entry, seen)),
  ];
}

const spread = (one: unknown): unknown =>
  typeof one === 'object' && one !== null ? { ...one } : one;

/** Every text that a program could make from a value without naming the hash. */
export function renderings(value: unknown): string[] {
  const ways: (() => unknown)[] = [
    () => JSON.stringify(value),
    () => JSON.stringify(Array.isArray(value) ? value.map(spread) : spread(value)),
    () => JSON.stringify(instanceToPlain(value)),
    () => JSON.stringify(structuredClone(value)),
    () => serialize(value).toString('latin1') + serialize(value).toString('utf16le'),
    () => inspect(value, { depth: null }),
    () => inspect(value, { depth: null, showHidden: true }),
    () => inspect(value, { depth: null, getters: true }),
    () => walk(value).map(String).join(),
  ];
  return ways.map((way) => String(way()));
}

export function expectHidden(value: unknown): void {
  for (const rendering of renderings(value)) expect(rendering).not.toContain(SECRET);
}
