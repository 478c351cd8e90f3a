import { MAX_LIMIT } from '../input/defaults.js';

/**
 * Columns of the first row that the statement of a claim returns, as `ClaimRow` in claim.ts describes them. The
 * statement reads its CTE `found`, which also has the columns "availableAt" and "spent". PostgreSQL cannot
 * convert the time since '-infinity' to a number, so a row that was due before 1970 counts from then.
 *
 * @param id - the column of the ids
 */
export const aboutFound = (id: string): string => `array_agg(${id}) AS "found",
    array_agg(ceil(EXTRACT(EPOCH FROM statement_timestamp() - GREATEST("availableAt", 'epoch')) * 1000)::bigint) AS "waited",
    array_agg(${id}) FILTER (WHERE "spent") AS "spent"`;

/**
 * Locks the first rows of an ordered query that no other transaction has locked, and no row behind them.
 *
 * The planner sees the largest limit alone, because `count` is hidden in a subquery or a column. If it saw the
 * number, a plan for exactly that number would look cheaper than the plan that it keeps. It would then plan the
 * claim anew each time, which takes as long as the claim. So a query should hide its other parameters, too.
 *
 * @param query - without a limit
 * @param count - how many rows, at most `MAX_LIMIT`: a subquery with a parameter, or a column
 */
export const lockFirst = (query: string, count: string): string => `
    SELECT * FROM (
      ${query}
      LIMIT ${MAX_LIMIT}
      FOR NO KEY UPDATE SKIP LOCKED
    ) AS first
    LIMIT ${count}`;
