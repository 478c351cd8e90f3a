import { UserService } from '@frameforge/shared-types';
import { Injectable } from '@nestjs/common';

/** Who uses the page. An application has its login here, and this one has a single guest. */
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
