import { readFileSync } from 'node:fs';
import { run } from '../../src/cli/cli.commands.js';
import { columnFor } from '../../src/migrations/adoption.steps.js';
import type { FirstColumn } from '../../src/migrations/first.tables.js';
import { FIRST_TABLES } from '../../src/migrations/first.tables.js';
import type { FoundColumn } from '../../src/migrations/older.database.js';
import { query } from '../support/query.js';

const HELD = 'Held by frameforge-db adopt: it may have been sent already.';

/** SQL that makes an older database, with its rows. */
export const older = (kind: string): string =>
  readFileSync(`test/migrations/older-databases/${kind}.sql`, 'utf8');

/** The command line, on a database. */
export async function frameforgeDb(
  url: string,
  ...args: string[]
): Promise<{ code: number; lines: string[] }> {
  const { DATABASE_URL } = process.env;
  process.env['DATABASE_URL'] = url;
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  try {
    return { code: await run(args, { out: write, err: write }), lines };
  } finally {
    if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = DATABASE_URL;
  }
}

/** The whole content of a database: the tables with their columns, and the rows. */
export async function everything(url: string): Promise<unknown> {
  const tables = await query(
    url,
    `SELECT c.relname AS "name", array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)::text AS "columns"
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
     WHERE c.relnamespace = 'public'::regnamespace GROUP BY c.relname ORDER BY c.relname`,
  );
  const rows = await query(
    url,
    `SELECT relname AS "name", query_to_xml(format('SELECT t::text FROM %I t ORDER BY 1', relname), true, true, '')::text AS "rows"
     FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname`,
  );
  return { tables, rows };
}

/**
 * Reads the values of all rows of the first three tables, under the new names and with times in ms. They must be
 * equal before and after an adoption. The changes that the operator chooses (retry, hold) are applied to both.
 */
export async function valuesIn(url: string, zone: string): Promise<unknown> {
  const columns = (await query(
    url,
    `SELECT relname::text AS "table", attname::text AS "name", format_type(atttypid, atttypmod) AS "type"
     FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
     WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped`,
  )) as unknown as FoundColumn[];
  return Promise.all(
    FIRST_TABLES.map(async (table) => {
      const found = columns.filter((column) => column.table === table.name);
      const values = table.columns.flatMap((wanted) => {
        const column = columnFor(wanted, found);
        if (column === undefined) return [];
        return [`${valueOf(wanted, column, zone)} AS "${wanted.name}"`];
      });
      if (values.length === 0) return [];
      const rows = await query(url, `SELECT ${values.join(', ')} FROM ${table.name} t`);
      return rows
        .map((row) => {
          if (table.name === 'video_jobs' && row['status'] === 'processing') {
            return { ...row, status: 'pending', startedAt: null };
          }
          if (row['deliveryStatus'] === 'pending') return { ...row, deliveryStatus: 'failed' };
          return String(row['errorMessage']).startsWith(HELD)
            ? { ...row, errorMessage: null }
            : row;
        })
        .toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
    }),
  );
}

function valueOf({ name, type }: FirstColumn, column: FoundColumn, zone: string): string {
  const it = `"${column.name}"`;
  if (column.type.startsWith('timestamp')) {
    const at = column.type.endsWith('without time zone') ? ` AT TIME ZONE '${zone}'` : '';
    return `extract(epoch FROM date_trunc('milliseconds', ${it}${at}))::text`;
  }
  if (type === 'uuid') return `lower(${it}::text)`;
  if (type === 'integer') return `${it}::float8::text`;
  if (name !== 'notificationType' || column.name !== 'type') return `${it}::text`;
  // The old type was a channel, such as an e-mail. The new type follows from the status of the job.
  return `(SELECT CASE status::text WHEN 'completed' THEN 'success' ELSE 'failure' END
    FROM video_jobs j WHERE j.job_id = t.job_id)`;
}
