import type { Client } from 'pg';
import { AbstractLogger } from 'typeorm';

/** A node of a plan, as EXPLAIN (FORMAT JSON) writes it. */
export interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Join Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** A statement, as the services send it. */
export interface SentQuery {
  readonly text: string;
  readonly values: readonly unknown[];
  /** The statements that its transaction ran before. */
  readonly before?: string | undefined;
}

/** Keeps the last statement of a data source. Use it as the logger of the data source. */
export class QueryRecorder extends AbstractLogger {
  #last: SentQuery | undefined;

  override logQuery(text: string, values: unknown[] = []): void {
    this.#last = { text, values };
  }

  protected override writeLog(): void {}

  /** Returns the statement that a call sends. */
  async sentBy(call: () => Promise<unknown>): Promise<SentQuery> {
    this.#last = undefined;
    await call();
    if (this.#last === undefined) throw new Error('The call sent nothing.');
    return this.#last;
  }
}

/**
 * Runs a statement with the generic plan that PostgreSQL uses for a prepared statement after some runs, rolls it
 * back, and returns the nodes of the plan.
 */
export async function explain(
  client: Client,
  { text, values, before }: SentQuery,
): Promise<PlanNode[]> {
  const literal = (value: unknown): string => {
    if (value === null || value === undefined) return 'NULL';
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    if (typeof value === 'string') return client.escapeLiteral(value);
    const entries = (value as unknown[]).map((entry) =>
      entry === null ? 'NULL' : JSON.stringify(String(entry)),
    );
    return client.escapeLiteral(`{${entries.join()}}`);
  };
  const parameters = values.length > 0 ? `(${values.map(literal).join()})` : '';
  await client.query('BEGIN');
  try {
    await client.query('SET LOCAL plan_cache_mode = force_generic_plan');
    if (before !== undefined) await client.query(before);
    await client.query(`PREPARE explained AS ${text}`);
    const { rows } = await client.query<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
      `EXPLAIN (ANALYZE, COSTS OFF, FORMAT JSON) EXECUTE explained${parameters}`,
    );
    return (rows[0]?.['QUERY PLAN'] ?? []).flatMap(({ Plan }) => flatten(Plan));
  } finally {
    await client.query('ROLLBACK');
    // A rollback does not remove a prepared statement.
    await client.query('DEALLOCATE ALL');
  }
}

const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];

/** The tables that a plan reads completely. */
export const scannedTables = (plan: readonly PlanNode[]): string[] =>
  plan
    .filter((node) => node['Node Type'] === 'Seq Scan')
    .map((node) => String(node['Relation Name']));

export const indexesOf = (plan: readonly PlanNode[]): Set<string> =>
  new Set(plan.flatMap((node) => node['Index Name'] ?? []));

/** The most rows that one node of a plan has read, including rows that a filter removed. */
export const mostRowsOfANode = (plan: readonly PlanNode[]): number =>
  Math.max(
    ...plan.map(
      (node) =>
        node['Actual Loops'] *
        (node['Actual Rows'] +
          (node['Rows Removed by Filter'] ?? 0) +
          (node['Rows Removed by Join Filter'] ?? 0) +
          (node['Rows Removed by Index Recheck'] ?? 0)),
    ),
  );

/**
 * Loads many rows without indexes, triggers and checks of foreign keys, which would be slow. The rows obey
 * their rules.
 */
export async function withoutIndexes(on: Client, load: () => Promise<void>): Promise<void> {
  const { rows } = await on.query<{ name: string; definition: string }>(
    `SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
     FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid
     WHERE indrelid = ANY('{users, video_jobs, notification_log}'::regclass[]) AND conindid IS NULL`,
  );
  await on.query(`SET session_replication_role = replica`);
  for (const { name } of rows) await on.query(`DROP INDEX ${name}`);
  await load();
  for (const { definition } of rows) await on.query(definition);
  await on.query(`RESET session_replication_role`);
}
