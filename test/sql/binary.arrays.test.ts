import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { array, assert, asyncProperty, constantFrom, option, string, uuid } from 'fast-check';
import type { Arbitrary } from 'fast-check';
import { tablesOf } from '../../src/schema/tables.js';
import { toBinary } from '../../src/sql/binary.arrays.js';
import { sql } from '../../src/sql/statement.js';
import type { Statement } from '../../src/sql/statement.js';
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

/** The statements of all rooms that need no other parameter than the tables. */
async function allStatements(): Promise<Statement[]> {
  const src = join(import.meta.dirname, '../../src');
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' });
  const found: Statement[] = [];
  for (const file of files.filter((name) => name.endsWith('.sql.ts'))) {
    const exported = (await import(join(src, file))) as Record<string, unknown>;
    for (const make of Object.values(exported)) {
      if (typeof make !== 'function' || make.length !== 1) continue;
      const made = make(tablesOf(h.dataSource)) as Partial<Statement> | undefined;
      if (made?.arrays !== undefined) found.push(made as Statement);
    }
  }
  return found;
}

it('the types of the arrays are those that the server finds in each statement', async () => {
  let count = 0;
  await h.dataSource.transaction(async (manager) => {
    for (const { name, text, arrays } of await allStatements()) {
      await manager.query(`PREPARE ${name} AS ${text}`);
      const [{ types }] = await manager.query(
        `SELECT ARRAY(SELECT typelem::integer FROM unnest(parameter_types::oid[]) WITH ORDINALITY AS p(oid, place)
           JOIN pg_type ON pg_type.oid = p.oid ORDER BY place) AS types
         FROM pg_prepared_statements WHERE name = $1`,
        [name],
      );
      for (const [place, { oid }] of arrays) {
        expect([text, place, types[place]]).toEqual([text, place, oid]);
        count += 1;
      }
      await manager.query(`DEALLOCATE ${name}`);
    }
  });
  expect(count).toBeGreaterThan(40);
});
