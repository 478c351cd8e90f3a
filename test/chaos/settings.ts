/** The kinds of jobs, and how many of a hundred jobs are of each kind. */
export const KINDS = { plain: 55, write: 20, flaky: 15, broken: 5, unrecoverable: 5 } as const;
export type Kind = keyof typeof KINDS;

export const WORKERS = 4;
export const LEASE_MS = 4_000;
export const MAX_ATTEMPTS = 5;
export const KILL_EVERY_MS = 2_000;
/** Jobs a second. */
export const RATE = 50;
/** Cancelled jobs a second. */
export const CANCEL_RATE = 8;
/** How long all work may take to end after the last fault, in ms. */
export const DRAIN_MS = 120_000;

/** How long, in ms, a statement of the application may wait for a lock, and run. */
export const LOCK_TIMEOUT_MS = 100;
export const STATEMENT_TIMEOUT_MS = 500;
/** How long, in ms, the application waits for the reply to a statement. */
export const REPLY_TIMEOUT_MS = 2_000;

/** After this time TCP gives up a connection whose other end has vanished, in ms. On a real server it takes minutes. */
export const KEEP_ALIVE_MS = 10_000;
