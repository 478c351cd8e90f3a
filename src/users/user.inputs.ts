import { CheckedBy } from '../input/input.js';
import { email, text } from '../input/rules.js';
import type { Rule } from '../input/rules.js';

const username: Rule = {
  name: 'username',
  message: 'must be 3 to 50 letters of a to z, digits and underscores',
  openApi: { type: () => String, pattern: '^[A-Za-z0-9_]{3,50}$' },
  accepts: (value) => typeof value === 'string' && /^\w{3,50}$/.test(value),
};

/** A user to create. */
export class CreateUserInput {
  /** 3 to 50 letters of a to z in either case, digits and underscores; unique, as it is written. */
  @CheckedBy(username) username!: string;
  /** An e-mail address; unique, as it is written. */
  @CheckedBy(email) email!: string;
  /** The hash of the password, never the password itself; 1 to 255 characters. */
  @CheckedBy(text(255)) passwordHash!: string;
}

/** Who wants to log in: a `username` or an `email`, and not both. */
export class FindForLoginInput {
  /** The user's name; left out where `email` is given. */
  @CheckedBy(text(255), 'optional') username?: string;
  /** The user's e-mail address; left out where `username` is given. */
  @CheckedBy(text(255), 'optional') email?: string;
}

/** What to change of a user: at least one of these. */
export class UpdateUserInput {
  /** The new e-mail address; unique, as it is written. */
  @CheckedBy(email, 'optional') email?: string;
  /** The hash of the new password; 1 to 255 characters. */
  @CheckedBy(text(255), 'optional') passwordHash?: string;
}
