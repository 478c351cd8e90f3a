import { columns, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';

/** The columns of `users` that everybody may read. */
export const USER_COLUMNS = ['userId', 'username', 'email', 'createdAt', 'updatedAt'] as const;

/**
 * $1 username, $2 email, $3 passwordHash. Returns no row if one of the first two is taken. It waits for a transaction
 * that has written such a user and not committed yet.
 */
export const createUser = (t: Tables): Statement => ({
  ...sql`
  INSERT INTO ${t.users} AS u ("username", "email", "passwordHash", "createdAt", "updatedAt")
  VALUES ($1::varchar, $2::varchar, $3::varchar, ${NOW}, ${NOW})
  ON CONFLICT DO NOTHING
  RETURNING ${columns(USER_COLUMNS, 'u')}`,
  secret: 3,
});

/**
 * $1 username, $2 email. Returns which of the two is taken, or NULL. If no user has exactly these values, a unique
 * index of the application may have refused them in another case. That search reads the whole table, so it comes last.
 */
export const takenProperty = (t: Tables): Statement => sql`
  SELECT COALESCE(
    (SELECT 'username' FROM ${t.users} WHERE "username" = $1::varchar),
    (SELECT 'email' FROM ${t.users} WHERE "email" = $2::varchar),
    (SELECT 'username' FROM ${t.users} WHERE lower("username") = lower($1::varchar) LIMIT 1),
    (SELECT 'email' FROM ${t.users} WHERE lower("email") = lower($2::varchar) LIMIT 1)
  ) AS "property"`;

/** $1 username or null, $2 email or null. */
export const findForLogin = (t: Tables): Statement => sql`
  SELECT ${columns(USER_COLUMNS, 'u')}, u."passwordHash"
  FROM ${t.users} u
  WHERE u."username" = $1::varchar OR u."email" = $2::varchar`;

/**
 * $1 userId, $2 email or null, $3 passwordHash or null. One row unless there is no such user: whether the
 * address is another's, and the user if it was changed. An address that another transaction takes at the
 * same time raises a unique violation.
 */
export const updateUser = (t: Tables): Statement => ({
  ...sql`
  WITH locked AS MATERIALIZED (
    SELECT "userId", EXISTS (
      SELECT FROM ${t.users} o WHERE o."email" = $2::varchar AND o."userId" <> $1::uuid
    ) AS "isTaken"
    FROM ${t.users}
    WHERE "userId" = $1::uuid
    FOR NO KEY UPDATE
  ), updated AS (
    UPDATE ${t.users} u
    SET "email" = COALESCE($2::varchar, u."email"),
      "passwordHash" = COALESCE($3::varchar, u."passwordHash"),
      "updatedAt" = ${NOW}
    FROM locked
    WHERE u."userId" = $1::uuid AND NOT locked."isTaken"
    RETURNING ${columns(USER_COLUMNS, 'u')}
  )
  SELECT locked."isTaken", ${columns(USER_COLUMNS, 'updated')}
  FROM locked LEFT JOIN updated ON true`,
  secret: 3,
});
