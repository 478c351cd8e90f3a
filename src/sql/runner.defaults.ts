/** How long to wait for a connection, and for the reply to a statement outside of a caller's transaction, in ms. */
export const DEFAULT_REPLY_TIMEOUT_MS = 30_000;
