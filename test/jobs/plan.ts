import type { Client } from 'pg';
import type { Statement } from '../../src/connection/statement.js';

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

/**
 * Runs a statement with the generic plan that a prepared statement ends up with, undoes it, and
 * returns the nodes of the plan.
 */
export async function explain(
  client: Client,
  { name, text }: Statement,
  values: readonly (string | number | readonly (string | number | null)[] | null)[],
): Promise<PlanNode[]> {
  const literals = values.map((value) => {
    if (value === null || typeof value === 'number') return String(value);
    if (typeof value === 'string') return client.escapeLiteral(value);
    const entries = value.map((entry) => (entry === null ? 'NULL' : JSON.stringify(String(entry))));
    return client.escapeLiteral(`{${entries.join()}}`);
  });
  await client.query('BEGIN');
  try {
    await client.query('SET LOCAL plan_cache_mode = force_generic_plan');
    await client.query(`PREPARE ${name} AS ${text}`);
    const execute = `EXECUTE ${name}${literals.length > 0 ? `(${literals.join()})` : ''}`;
    const { rows } = await client.query<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
      `EXPLAIN (ANALYZE, COSTS OFF, FORMAT JSON) ${execute}`,
    );
    await client.query(`DEALLOCATE ${name}`);
    return (rows[0]?.['QUERY PLAN'] ?? []).flatMap(({ Plan }) => flatten(Plan));
  } finally {
    await client.query('ROLLBACK');
  }
}

const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];

/** The tables that a plan reads from end to end. */
export const scannedTables = (plan: readonly PlanNode[]): string[] =>
  plan
    .filter((node) => node['Node Type'] === 'Seq Scan')
    .map((node) => String(node['Relation Name']));

export const indexesOf = (plan: readonly PlanNode[]): Set<string> =>
  new Set(plan.flatMap((node) => node['Index Name'] ?? []));

/** The most rows that one node of a plan looked at, kept or not. */
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
