import { UserService } from '@frameforge/shared-types';
import { Injectable } from '@nestjs/common';

/** The user of the page. This example has only one, a guest. An application has its login here. */
@Injectable()
export class Visitor {
  private guest: Promise<string> | undefined;

  constructor(private readonly users: UserService) {}

  userId(): Promise<string> {
    this.guest ??= this.users
      .createUser({ username: 'guest', email: 'guest@example.com', passwordHash: '$argon2id$…' })
      .then(({ userId }) => userId);
    return this.guest;
  }
}
