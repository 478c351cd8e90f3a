import type { DataSource } from 'typeorm';
import {
  InvalidInputError,
  TransactionConflictError,
  UserConflictError,
  UserNotFoundError,
} from '../errors.js';
import { readId, readInput } from '../input/input.js';
import { User } from '../schema/entities/index.js';
import { hydrate } from '../sql/hydrate.js';
import { preparedByDefault } from '../sql/prepared-by-default.js';
import { SqlRunner } from '../sql/sql.runner.js';
import type { ServiceOptions } from '../sql/sql.runner.js';
import { ReadOptions } from '../sql/transaction.options.js';
import type { TransactionOptions } from '../sql/transaction.options.js';
import { CreateUserInput, FindForLoginInput, UpdateUserInput } from './user.inputs.js';
import * as statements from './user.sql.js';

type Row = Record<string, unknown>;

/** A user with the hash of the password. Only `findForLogin` returns one. */
export type UserWithPasswordHash = User & {
  /** The hash of the user's password. */
  passwordHash: string;
};

/** How often a creation is tried if another user was in the way and then was rolled back or deleted. */
const TRIES = 5;

/**
 * Creates users, finds them for a login, and changes them. Usernames and e-mail addresses are compared as they
 * are written. If upper and lower case should not matter, pass them in lower case.
 *
 * Every method can also reject with `InvalidInputError`, `DatabaseUnavailableError`,
 * `TransactionConflictError`, and `MigrationError` if the tables are missing. A method that takes
 * `options.manager` joins that manager's transaction. No log of TypeORM's shows a hash that
 * these methods write.
 */
export class UserService {
  /** Whether plans are kept by name. */
  readonly preparedStatements: boolean;
  private readonly db: SqlRunner;

  /**
   * @param dataSource - an initialized data source with this package's entities
   * @param options - `preparedStatements`: whether plans are kept by name (default true,
   *   unless the environment says `DB_PREPARED_STATEMENTS=false`);
   *   `replyTimeoutMs`: how long to wait for the reply to a statement outside of `options.manager`,
   *   before the database counts as unavailable (default 30,000 ms);
   *   `currentManager`: finds the transaction that a call joins if it has no `manager` (default none);
   *   `runner`: internal, runs the statements
   */
  constructor(
    readonly dataSource: DataSource,
    { runner, preparedStatements, replyTimeoutMs, currentManager }: ServiceOptions = {},
  ) {
    this.preparedStatements = preparedStatements ?? preparedByDefault();
    this.db =
      runner ??
      new SqlRunner(dataSource, this.preparedStatements, { replyTimeoutMs, currentManager });
  }

  /**
   * Creates a user. Of simultaneous calls with the same name or address one succeeds.
   *
   * @returns the user, without the hash
   * @throws UserConflictError if the username or the e-mail address is taken, with which of them in
   *   `property`; the caller's transaction stays usable
   */
  async createUser(input: CreateUserInput, options?: TransactionOptions): Promise<User> {
    const operation = 'createUser';
    const tx = this.db.readOptions(operation, options);
    const { username, email, passwordHash } = readInput(operation, CreateUserInput, input);
    for (let tries = 1; tries <= TRIES; tries += 1) {
      const values = [username, email, passwordHash];
      const [row] = await this.db.run<Row>(operation, statements.createUser, values, tx);
      if (row !== undefined) return toUser(row);
      const names = [username, email];
      const [taken] = await this.db.run<{ property: 'username' | 'email' | null }>(
        operation,
        statements.takenProperty,
        names,
        tx,
      );
      const property = taken?.property ?? null;
      if (property !== null) throw new UserConflictError(property);
    }
    throw new TransactionConflictError(operation);
  }

  /**
   * Finds the user who wants to log in, with the hash of the password, which no other method returns.
   * The hash is behind an accessor of the class, where JSON, spread and logs do not look.
   *
   * @param input - the `username` or the `email`, as it was written when the user was created
   * @param options - `replica`: read from a replica, which may be a moment behind
   * @returns null if there is no such user. Compare the password with some hash in that case, too: otherwise
   *   the time of the answer tells who exists
   */
  async findForLogin(
    input: { username: string } | { email: string },
    options?: ReadOptions,
  ): Promise<UserWithPasswordHash | null> {
    const operation = 'findForLogin';
    const tx = this.db.readOptions(operation, options, ReadOptions);
    const { username, email } = readInput(operation, FindForLoginInput, input);
    if ((username === undefined) === (email === undefined)) {
      const message = 'must be given, or email, and not both';
      throw new InvalidInputError(operation, [{ property: 'username', message }]);
    }
    const values = [username ?? null, email ?? null];
    const [row] = await this.db.run<Row>(operation, statements.findForLogin, values, tx);
    if (row === undefined) return null;
    const user = toUser(row);
    user.passwordHash = row['passwordHash'] as string;
    return user as UserWithPasswordHash;
  }

  /**
   * Changes the e-mail address of a user, or the hash of the password, or both. Notifications that are
   * logged already keep the address that they have.
   *
   * @returns the user, without the hash
   * @throws UserNotFoundError
   * @throws UserConflictError if another user has the address. The caller's transaction stays usable, with one
   *   exception: if an open transaction is just writing that other user, the database raises an SQL error,
   *   which aborts the caller's transaction
   */
  async updateUser(
    userId: string,
    input: UpdateUserInput,
    options?: TransactionOptions,
  ): Promise<User> {
    const operation = 'updateUser';
    const tx = this.db.readOptions(operation, options);
    const id = readId(operation, 'userId', userId);
    const { email, passwordHash } = readInput(operation, UpdateUserInput, input);
    if (email === undefined && passwordHash === undefined) {
      const message = 'must have an email or a passwordHash to change';
      throw new InvalidInputError(operation, [{ property: 'input', message }]);
    }
    const values = [id, email ?? null, passwordHash ?? null];
    const [row] = await this.db
      .run<Row>(operation, statements.updateUser, values, tx)
      .catch((error: unknown) => {
        throw isUniqueViolation(error) ? new UserConflictError('email') : error;
      });
    if (row === undefined) throw new UserNotFoundError([id], 'nothing was changed');
    if (row['isTaken'] === true) throw new UserConflictError('email');
    return toUser(row);
  }
}

const toUser = (row: Row): User => hydrate(User, statements.USER_COLUMNS, row);

const isUniqueViolation = (error: unknown): boolean =>
  (error as { code?: unknown }).code === '23505';
