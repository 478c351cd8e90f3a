/**
 * The statement's own time as SQL, to the millisecond. Not `now()`: in an old transaction that is long
 * past. Truncated, because rounding up would put a new row into the future for half a millisecond.
 */
export const NOW = `date_trunc('milliseconds', statement_timestamp())`;
