import { array, assert, asyncProperty, constantFrom, option, string, uuid } from 'fast-check';
import type { Arbitrary } from 'fast-check';
import { toBinary } from '../../src/sql/binary.arrays.js';
import { sql } from '../../src/sql/statement.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

let h: Harness;
let db: SqlRunner;
beforeAll(async () => {
  h = await openHarness();
  db = new SqlRunner(h.dataSource, true);
});
afterAll(() => h.close());

const statements = {
  uuid: () => sql`SELECT to_jsonb((SELECT $1::uuid[])) AS "array"`,
  text: () => sql`SELECT to_jsonb((SELECT $1::text[])) AS "array"`,
  varchar: () => sql`SELECT to_jsonb((SELECT $1::varchar[])) AS "array"`,
};

const read = async (type: keyof typeof statements, values: unknown): Promise<unknown> => {
  const [row] = await db.run<{ array: unknown }>('test', statements[type], [values]);
  return row?.array;
};

const nullable = <T>(arbitrary: Arbitrary<T>) => array(option(arbitrary, { freq: 9 }));
const ids = uuid().chain((id) => constantFrom(id, id.toUpperCase()));
// PostgreSQL has no text with a zero.
const texts = string({ unit: 'binary' }).filter((text) => !text.includes('\0'));

it('the server reads ids and texts as they are, nulls too, in the binary format', async () => {
  await assert(
    asyncProperty(nullable(ids), nullable(texts), async (uuids, strings) => {
      for (const [type, values] of [
        ['uuid', uuids],
        ['text', strings],
        ['varchar', strings],
      ] as const) {
        const [sent] = toBinary([values], statements[type]().arrays);
        expect(sent).toBeInstanceOf(Buffer);
        const lower = values.map(
          (value) => (type === 'uuid' ? value?.toLowerCase() : value) ?? null,
        );
        expect(await read(type, values)).toEqual(lower);
      }
    }),
    { numRuns: 50 },
  );
});

it.each([
  ['a number', [1]],
  ['no id', ['cat']],
  ['a short id', ['0190a6ab-1c2d-7000-8000-00000000000']],
  ['a letter that is no digit', ['0190a6ab-1c2d-7000-8000-00000000000g']],
  ['a letter outside of ASCII', ['0190a6ab-1c2d-7000-8000-00000000000ä']],
  ['another character for a dash', ['0190a6ab+1c2d-7000-8000-000000000000']],
])('the server refuses an array of ids with %s', async (_, values) => {
  expect(toBinary([values], statements.uuid().arrays)).toEqual([values]);
  await expect(read('uuid', values)).rejects.toMatchObject({ code: '22P02' });
});

it('other parameters stay as they are', () => {
  const { arrays } = sql`SELECT $1::uuid, $2::integer[], $3::text[]`;
  expect(toBinary(['cat', [1], null], arrays)).toEqual(['cat', [1], null]);
});
