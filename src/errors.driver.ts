import {
  ConfigurationError,
  DatabaseUnavailableError,
  FrameForgeError,
  MigrationError,
  StatementTimeoutError,
  TransactionConflictError,
} from './errors.js';
import { clauseOf, MAX_PARTS, readable, reasonOf } from './errors.text.js';

/** Node's error codes for a connection that could not be opened, or that broke. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/** The messages of `pg` and `pg-pool`, which have no code, for a connection that broke or was not free. */
const BROKEN =
  /^(Connection terminated|timeout exceeded when trying to connect|timeout expired|Client has encountered a connection error|Client was closed|Query read timeout|Cannot use a pool after calling end|Connection ended|server closed the connection|Query runner already released|Driver not Connected)/i;

/** The message of `pg`, which has no code, when the server wants a password and there is none. */
const DRIVER_LOGIN = /^SASL: /;

/** PgBouncer's messages for a login that cannot succeed. It sends them with the code of a broken connection. */
const POOLER_LOGIN =
  /authentication failed|auth failed|no such (user|database)|does not exist|unsupported startup parameter|(SSL|TLS) required/i;

/** What to do about a refused login, by the message of the server. The first entry that fits is used. */
const LOGIN_ADVICE: readonly (readonly [RegExp, string])[] = [
  [
    /unsupported startup parameter/i,
    `PgBouncer does not pass that setting on. Take it out of the URL or \`extra\`, and set it for the ` +
      `role (ALTER ROLE ... SET), or name it in PgBouncer's ignore_startup_parameters`,
  ],
  [
    /no pg_hba\.conf entry.*(no encryption|SSL off)|(SSL|TLS) required/i,
    `If the server accepts only encrypted connections, set \`ssl: true\`, DB_SSL=true, or ` +
      `?sslmode=verify-full in the URL; if not, let its pg_hba.conf accept this host`,
  ],
  [
    /no pg_hba\.conf entry/i,
    `Let the server's pg_hba.conf accept this host, user and database, encrypted or not as the message says`,
  ],
  [/./, `Correct the user, the password or the database's name`],
];

/** The message of `pg-pool` when all connections were in use for too long. */
export const NO_CONNECTION_FREE = 'timeout exceeded when trying to connect';

/** The codes of node for a certificate that it does not trust. */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED_CERT|UNABLE_TO_|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA)/;

/**
 * Turns an error of the driver into an error of this package if the caller can act on it. Returns any other
 * error unchanged. SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
 *
 * @param operation - what was being done, as the subject of the message: `createJob`
 * @param wasSent - whether the statement had been sent, so it may have been done although no answer came
 */
export function fromDriver(error: unknown, operation: string, wasSent = false): unknown {
  const thrown = readable(error);
  try {
    return translated(thrown, operation, wasSent);
  } catch {
    // A property of the thrown value throws when it is read.
    return new Error(reasonOf(thrown));
  }
}

function translated(error: unknown, operation: string, wasSent: boolean): unknown {
  if (error instanceof FrameForgeError) return error;
  const { driverError: cause = error } = (error ?? {}) as { driverError?: unknown };
  const { message } = (cause ?? {}) as { message?: unknown };
  const state = stateOf(cause);
  if (state === '40001' || state === '40P01') {
    return new TransactionConflictError(operation, { cause });
  }
  // The plan that this connection kept is out of date. The next try makes a new plan.
  if (hasStalePlan(cause)) {
    return new TransactionConflictError(operation, { cause });
  }
  if (state === '57014' || state === '55P03') {
    return new StatementTimeoutError(operation, { cause });
  }
  if (state.startsWith('28') || state === '3D000' || isRefusedLogin(state, String(message))) {
    return new ConfigurationError(
      `${operation} could not log in to the database: ${clauseOf(cause)}. ` +
        `${LOGIN_ADVICE.find(([said]) => said.test(`${String(message)}.`))?.[1]}.`,
      { cause },
    );
  }
  if (state === '26000' || state === '42P05') {
    return new ConfigurationError(
      `${operation} met a connection pooler that does not keep prepared statements: ` +
        `${clauseOf(cause)}. Set \`preparedStatements: false\`, or DB_PREPARED_STATEMENTS=false.`,
      { cause },
    );
  }
  if (CERTIFICATE.test(state)) {
    return new ConfigurationError(
      `${operation} could not verify the certificate of the database's server: ${clauseOf(cause)}. ` +
        `Give the certificate of the authority that signed it: as ssl: { ca }, in the environment ` +
        `(NODE_EXTRA_CA_CERTS=<file>), or in the URL (?sslmode=verify-full&sslrootcert=<file>). ` +
        `Connect with the host name that the certificate is for.`,
      { cause },
    );
  }
  if (message === 'The server does not support SSL connections') {
    return new ConfigurationError(
      `${operation} asked for TLS, but the database server does not support it. ` +
        `Turn TLS on in the server, or off here: with \`ssl\`, DB_SSL, the URL, or PGSSLMODE.`,
      { cause },
    );
  }
  if (message === NO_CONNECTION_FREE) {
    return new DatabaseUnavailableError(operation, {
      cause,
      problem: poolIsFull('all connections'),
    });
  }
  if (isUnreachable(state, cause) || (state === '' && BROKEN.test(String(message)))) {
    const outcome = wasSent && !isAnswer(cause) ? 'unknown' : 'not done';
    return new DatabaseUnavailableError(operation, { cause, outcome });
  }
  if (state === '42P01' || state === '42703' || state === '3F000') {
    return new MigrationError(
      `${operation} needs a table, column or schema that does not exist: ${clauseOf(cause)}. ` +
        `Run the migrations of this release first.`,
      { cause },
    );
  }
  if (state === '42501') {
    return new ConfigurationError(
      `${operation} is not allowed to this database role: ${clauseOf(cause)}. ` +
        `Grant the role the privileges listed in docs/roles.md.`,
      { cause },
    );
  }
  return error;
}

/** The SQLSTATEs of a violated NOT NULL or CHECK, whose errors quote the whole row. */
const QUOTES_ROW = /^23(502|514)$/;

/**
 * Removes from an error of the driver the text that quotes the refused row, because that text may contain
 * the hash of a password. The names of the table, the column and the constraint stay.
 */
export function hideRow(cause: unknown): void {
  const { detail } = (cause ?? {}) as { detail?: unknown };
  if (typeof detail !== 'string') return;
  if (!QUOTES_ROW.test(stateOf(cause)) && !detail.includes('passwordHash')) return;
  delete (cause as { detail?: unknown }).detail;
}

/**
 * The driver's error inside an error of TypeORM. TypeORM's error contains the statement and its parameters;
 * the driver's error does not. The row that it quotes is removed.
 */
export function driverErrorOf(error: unknown): unknown {
  const { driverError = error } = (error ?? {}) as { driverError?: unknown };
  hideRow(driverError);
  return driverError;
}

/**
 * Whether the error is an answer of the server, so that the statement was undone. An error that ends the
 * connection is no answer: it may have come after the commit.
 */
export const isAnswer = (cause: unknown): boolean => {
  const { severity, code } = (cause ?? {}) as { severity?: unknown; code?: unknown };
  return typeof severity === 'string' && typeof code === 'string' && !ENDS_CONNECTION.test(code);
};

/** Whether a kept plan is out of date, because the type of a column was changed. */
export const hasStalePlan = (cause: unknown): boolean => {
  const { routine } = (cause ?? {}) as { routine?: unknown };
  return stateOf(cause) === '0A000' && routine === 'RevalidateCachedQuery';
};

/** Whether the connection has lost its kept plans, as after `DISCARD ALL`. */
export const hasLostPlans = (cause: unknown): boolean => stateOf(cause) === '26000';

/** SQLSTATEs that end the connection: shutdown, crash, start, dropped database, session timeouts, broken protocol. */
const ENDS_CONNECTION = /^(57P|25P0[34]|08)/;

/** The message of a pool without a free connection. @param connections - which connections are in use, and by whom */
export const poolIsFull = (connections: string): string =>
  `got no connection: ${connections} of the pool are in use. Inside a transaction pass ` +
  `\`{ manager }\`, so that the call uses the transaction's connection. Otherwise raise \`poolSize\`.`;

function isRefusedLogin(state: string, message: string): boolean {
  return (
    (state === '08P01' && POOLER_LOGIN.test(message)) ||
    (state === '' && DRIVER_LOGIN.test(message))
  );
}

/**
 * Classes 08 (connection), 53 (resources), 57P (operator intervention: shutdown, restart) and
 * 25006 (a read-only server, as during a failover), or no connection at all.
 */
function isUnreachable(state: string, cause: unknown): boolean {
  const { errors } = (cause ?? {}) as { errors?: unknown };
  if (Array.isArray(errors) && errors.length > 0 && state === '') {
    return (
      errors.length <= MAX_PARTS && errors.every((one) => isUnreachable(stateOf(one), undefined))
    );
  }
  return (
    UNREACHABLE.has(state) ||
    state.startsWith('08') ||
    state.startsWith('53') ||
    state.startsWith('57P') ||
    state === '25006' ||
    state === '25P03' ||
    state === '25P04'
  );
}

const stateOf = (error: unknown): string => {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
};
