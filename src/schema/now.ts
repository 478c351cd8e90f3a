/**
 * The time of the statement as SQL, in milliseconds. `now()` would be the begin of the transaction, which may be
 * long ago. The time is truncated, because a rounded time may be up to half a millisecond in the future.
 */
export const NOW = `date_trunc('milliseconds', statement_timestamp())`;
