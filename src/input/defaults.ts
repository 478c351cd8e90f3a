/** How long a lease lasts unless the caller says otherwise, in milliseconds. */
export const DEFAULT_LEASE_MS = 30_000;
/** How many tries a job or a delivery has unless the caller says otherwise. */
export const DEFAULT_MAX_ATTEMPTS = 5;
/** How many rows a list or a claim returns unless the caller says otherwise. */
export const DEFAULT_LIMIT = 50;
/** The most rows that a list or a claim returns. */
export const MAX_LIMIT = 1_000;
/** The most entries that a batch takes. */
export const MAX_BATCH = 10_000;
