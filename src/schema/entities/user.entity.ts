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

/** Not a private field: one would throw on a clone, or behind a proxy, of an instance. */
const passwordHashes = new WeakMap<User, string>();

/**
 * A person who uploads videos.
 *
 * `passwordHash` is kept out of sight twice: no query returns it unless it asks for it by name
 * (`select: { passwordHash: true }`), and an instance holds it behind an accessor of the class, where
 * JSON, spread, `Object.keys` and `instanceToPlain` do not look. A copy of an instance is without it.
 * After a query that did not ask for it, it is undefined.
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

  /** The name to log in with; no two users have the same. */
  @Column({ name: 'username', type: 'varchar', length: 50 })
  username!: string;

  /** Where notifications go; no two users have the same. */
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
