import { requireParts } from './library.version.js';

// The only place that uses parts of `pg` and `pg-pool` which are not public:
//
// - `pool._clients`, to find the connections that are in use or are being opened. A pool has no public way
//   to them, and does not end them when it is closed;
// - `pool._pendingQueue`, to stop waiting for a connection. There is no public way;
// - `client._connecting`, to find the connections that are being opened;
// - `client.processID`. Behind a pooler it is a number that the pooler has made up;
// - `client.connection`, for its socket, because `client.end()` waits for a server that has vanished. Also
//   for the server's messages about the settings and the transaction of the session, and to tell it from `pg-native`.

/** The parts of a `pg` client that this package uses. TypeORM gives out clients without a type. */
export interface PgClient {
  connect(): Promise<unknown>;
  query(text: string): Promise<PgResult | PgResult[]>;
  query(query: PgQuery, callback: (error: Error | null, result: PgResult) => void): void;
  end(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  on(event: 'notification', listener: (message: { payload?: string }) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
  /** Gives the client back to its pool, which ends it if it is given true or an error. */
  release(end?: Error | boolean): void;
  /** Only in `pg` 8.17 and later. */
  getTransactionStatus?(): string | null;
  /** Not in the client of `pg-native`. */
  readonly connection?: PgConnection;
  readonly _connecting?: boolean;
  readonly processID?: number | null;
}

interface PgConnection {
  readonly stream: { destroy(): void };
  on(event: 'readyForQuery', listener: (message: { status: string }) => void): unknown;
  on(
    event: 'parameterStatus',
    listener: (message: { parameterName: string; parameterValue: string }) => void,
  ): unknown;
}

export interface PgQuery {
  readonly name?: string | undefined;
  readonly text: string;
  readonly values?: readonly unknown[];
  /** The parsers of values. If left out, `pg` uses the parsers of the process, which the application may have changed. */
  readonly types?: { getTypeParser(oid: number): (text: string) => unknown };
}

export interface PgResult {
  readonly rows: never[];
}

/** The parts of a `pg` pool that this package uses. */
export interface PgPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly options: { readonly max: number; readonly password?: unknown };
  readonly _clients: readonly PgClient[];
  readonly _pendingQueue: unknown[];
  readonly Client: new (options: object) => PgClient;
  connect(callback: (error: Error | undefined, client: PgClient) => void): void;
  end(): Promise<void>;
  on(event: 'connect' | 'acquire', listener: (client: PgClient) => void): unknown;
  on(event: 'release', listener: (error: unknown, client: PgClient) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/**
 * Checks that a pool and its first client have the parts that are used here.
 *
 * @throws ConfigurationError naming the version of `pg`, if it lacks a part
 */
export function requirePgParts(pool: PgPool): void {
  const { _clients: clients, _pendingQueue: queue } = pool;
  const [client] = Array.isArray(clients) ? (clients as PgClient[]) : [];
  requireParts('pg', {
    'pool._clients': Array.isArray(clients),
    'pool._pendingQueue': Array.isArray(queue),
    'client._connecting': client?.connection === undefined || '_connecting' in client,
    'client.connection.stream':
      client?.connection === undefined || typeof client.connection.stream?.destroy === 'function',
  });
}

/** Whether a client sends a `Buffer` in the binary format. That of `pg-native` sends it as a text. */
export const sendsBinary = ({ connection }: PgClient): boolean => connection !== undefined;

/** All clients of a pool: in use, idle, and being opened. */
export const clientsOf = ({ _clients }: PgPool): readonly PgClient[] => _clients;

/**
 * Asks a pool for a connection, as its `connect` does.
 *
 * @returns a function that stops waiting. Without it, a caller that has given up would stay in the queue until
 *   a connection is free, which may be never
 */
export function connectFrom(
  pool: PgPool,
  callback: (error: Error | undefined, client: PgClient) => void,
): () => void {
  const { _pendingQueue: queue } = pool;
  const before = queue.length;
  pool.connect(callback);
  if (queue.length <= before) return () => {};
  const waiting = queue.at(-1);
  return () => {
    const place = queue.indexOf(waiting);
    if (place !== -1) queue.splice(place, 1);
  };
}

/** Whether a client is being opened. */
export const isOpening = ({ _connecting }: PgClient): boolean => _connecting === true;

/** Breaks a client's connection at once, without a message to the server. */
export const cutOff = ({ connection }: PgClient): void => connection?.stream.destroy();

/** The process id that the server sent when the client logged in; undefined if it is not known. */
export const processOf = ({ processID }: PgClient): number | undefined => processID ?? undefined;

/** Calls back whenever the server reports the value of one of the session's settings. */
export function onSetting(client: PgClient, name: string, callback: (value: string) => void): void {
  client.connection?.on('parameterStatus', ({ parameterName, parameterValue }) => {
    if (parameterName === name) callback(parameterValue);
  });
}

const statuses = new WeakMap<PgClient, string>();

/** Makes {@link isInTransaction} work for a client of an older `pg`. */
export function followTransactions(client: PgClient): void {
  if (client.getTransactionStatus !== undefined) return;
  client.connection?.on('readyForQuery', ({ status }) => statuses.set(client, status));
}

/** Whether the last answer left the client in an open or aborted transaction, as far as is known. */
export function isInTransaction(client: PgClient): boolean {
  const status = client.getTransactionStatus?.() ?? statuses.get(client) ?? 'I';
  return status !== 'I';
}
