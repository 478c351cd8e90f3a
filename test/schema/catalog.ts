import type { DataSource } from 'typeorm';

/** What a schema contains, read from the catalog of PostgreSQL, with one line for each object. */
export interface Catalog {
  /** Every table, index, sequence, view... */
  readonly relations: readonly string[];
  /** By table, in its order: type, default, NOT NULL. */
  readonly columns: readonly string[];
  readonly constraints: readonly string[];
  /** The indexes that belong to no constraint. */
  readonly indexes: readonly string[];
  /** Functions, triggers, types, policies, extensions, and further schemas. */
  readonly others: readonly string[];
}

/** TypeORM's own table of migrations does not belong to the schema of this package. */
const OURS = `c.relnamespace = $1::regnamespace AND c.relname NOT IN ('migrations', 'migrations_id_seq')`;

/**
 * NOT NULL is read from `pg_attribute`, which works in every version. Only since PostgreSQL 18 it is also a row of
 * `pg_constraint`.
 */
const QUERIES: Record<keyof Catalog, string> = {
  relations: `
    SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' ELSE c.relkind::text END
        || ' ' || c.relname || CASE c.relpersistence WHEN 'p' THEN '' ELSE ' (not permanent)' END
        || COALESCE(' ' || c.reloptions::text, '') || COALESCE(' ' || c.relacl::text, '') AS line
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE ${OURS} AND i.indrelid IS DISTINCT FROM to_regclass($1 || '.migrations')
    ORDER BY c.relname`,
  columns: `
    SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
        || COALESCE(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
        || a.attidentity::text || a.attgenerated::text AS line
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE ${OURS} AND c.relkind NOT IN ('i', 'S')
    ORDER BY c.relname, a.attnum`,
  constraints: `
    SELECT c.relname || '.' || k.conname || ' ' || pg_get_constraintdef(k.oid) AS line
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE ${OURS} AND k.contype <> 'n'
    ORDER BY c.relname, k.conname`,
  indexes: `
    SELECT pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
      AS line
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE ${OURS}
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    ORDER BY c.relname`,
  others: `
    SELECT 'function ' || proname AS line FROM pg_proc WHERE pronamespace = $1::regnamespace
    UNION ALL
    SELECT 'trigger ' || tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = $1::regnamespace AND NOT t.tgisinternal
    UNION ALL
    SELECT 'type ' || typname FROM pg_type
    WHERE typnamespace = $1::regnamespace AND typrelid = 0 AND typcategory <> 'A'
    UNION ALL
    SELECT 'policy ' || polname FROM pg_policy
    UNION ALL
    SELECT 'extension ' || extname FROM pg_extension WHERE extname <> 'plpgsql'
    UNION ALL
    SELECT 'schema ' || nspname FROM pg_namespace
    WHERE nspname NOT IN ('public', 'information_schema') AND oid <> $1::regnamespace AND nspname NOT LIKE 'pg\\_%'
    ORDER BY 1`,
};

/** Reads the catalog of a schema. Definitions leave the name of that schema out. */
export async function readCatalog(dataSource: DataSource, schema = 'public'): Promise<Catalog> {
  const [found] = await dataSource.query('SELECT quote_ident($1) AS quoted', [schema]);
  const { quoted } = found as { quoted: string };
  const read = async (part: keyof Catalog): Promise<string[]> => {
    const rows: { line: string }[] = await dataSource.query(QUERIES[part], [quoted]);
    return rows.map(({ line }) => line.replaceAll(`${quoted}.`, ''));
  };
  return {
    relations: await read('relations'),
    columns: await read('columns'),
    constraints: await read('constraints'),
    indexes: await read('indexes'),
    others: await read('others'),
  };
}
