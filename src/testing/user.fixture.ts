import { randomBytes, randomUUID } from 'node:crypto';
import { User } from '../schema/entities/index.js';
import { fixture } from './fixture.js';
import type { Fixture } from './fixture.js';

/** The values of a user that `userFixture` makes. */
export type UserValues = Pick<User, 'username' | 'email'> & {
  /** The hash of a password; one of no password by default. */
  passwordHash: string;
  /** The key; made by the database if left out. */
  userId?: string;
};

/** A user. The default password hash looks like one of bcrypt, and is that of no password. */
export function userFixture(given: Partial<UserValues> = {}): Fixture<UserValues, User> {
  const username = given.username ?? `user-${randomUUID()}`;
  const defaults = {
    username,
    email: `user-${randomUUID()}@example.com`,
    passwordHash: `$2b$10$${randomBytes(40).toString('hex').slice(0, 53)}`,
  };
  return fixture<UserValues, User>(defaults, given, (manager, values) => {
    const users = manager.getRepository(User);
    return users.save(users.create(values));
  });
}
