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
