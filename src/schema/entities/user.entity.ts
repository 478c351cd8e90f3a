import {
  Column,
  CreateDateColumn,
  Entity,
  Index,
  PrimaryGeneratedColumn,
  Unique,
  UpdateDateColumn,
} from 'typeorm';
import { Named } from './named.js';

/** The hashes of users. A private field would throw on a clone of an instance, or behind a proxy. */
const passwordHashes = new WeakMap<User, string>();

/**
 * A person who uploads videos.
 *
 * `passwordHash` is hidden in two ways. A query returns it only if it asks for it by name
 * (`select: { passwordHash: true }`); otherwise it is undefined. And an instance has it as an accessor of the
 * class, which JSON, spread, `Object.keys` and `instanceToPlain` do not read. A copy of an instance does not
 * have it.
 */
@Named('User')
@Entity({ name: 'users' })
@Unique('uq_users_username', ['username'])
@Unique('uq_users_email', ['email'])
@Index('idx_users_username', ['username'])
@Index('idx_users_email', ['email'])
export class User {
  /** The key. */
  @PrimaryGeneratedColumn('uuid', { name: 'userId', primaryKeyConstraintName: 'pk_users' })
  userId!: string;

  /** The name to log in with. It is unique. */
  @Column({ name: 'username', type: 'varchar', length: 50 })
  username!: string;

  /** The address for notifications. It is unique. */
  @Column({ name: 'email', type: 'varchar', length: 255 })
  email!: string;

  /** The hash of the user's password; undefined unless the query asked for it by name. */
  @Column({ name: 'passwordHash', type: 'varchar', length: 255, select: false })
  get passwordHash(): string | undefined {
    return passwordHashes.get(this);
  }

  /** Sets the hash that the next `save()` writes; undefined leaves it as it is. */
  set passwordHash(hash: string | undefined) {
    if (hash === undefined) passwordHashes.delete(this);
    else passwordHashes.set(this, hash);
  }

  /** When the user was created. */
  @CreateDateColumn({
    name: 'createdAt',
    type: 'timestamptz',
    precision: 3,
    default: () => 'now()',
  })
  createdAt!: Date;

  /** When a repository last saved the user. */
  @UpdateDateColumn({
    name: 'updatedAt',
    type: 'timestamptz',
    precision: 3,
    default: () => 'now()',
  })
  updatedAt!: Date;
}
