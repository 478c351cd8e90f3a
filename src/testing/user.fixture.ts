import { randomBytes, randomUUID } from 'node:crypto';
import { User } from '../schema/entities/index.js';
import { fixture } from './fixture.js';
import type { Fixture } from './fixture.js';

/** The values of a user that `userFixture` makes. */
export type UserValues = Pick<User, 'username' | 'email'> & {
  /** The hash of a password. The default is the hash of no password. */
  passwordHash: string;
  /** The key. The database makes it if it is left out. */
  userId?: string;
};

/** Makes a user. The default password hash has the form of bcrypt, and is the hash of no password. */
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
