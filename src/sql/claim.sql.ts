/**
 * Columns of the first row that the statement of a claim returns, as `ClaimRow` in claim.ts describes them. The
 * statement reads its CTE `found`, which also has the columns "availableAt" and "spent".
 *
 * @param id - the column of the ids
 */
export const aboutFound = (id: string): string => `array_agg(${id}) AS "found",
    array_agg(ceil(EXTRACT(EPOCH FROM statement_timestamp() - "availableAt") * 1000)::bigint) AS "waited",
    array_agg(${id}) FILTER (WHERE "spent") AS "spent"`;
