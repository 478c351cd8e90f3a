import type { Rule } from './rules.js';
import { instant, uuid } from './rules.js';

/** A place in a list that is ordered by time and id, newest first (keyset pagination). */
export interface Position {
  readonly createdAt: Date;
  readonly id: string;
}

/** Makes the opaque cursor of a position. It holds no secret: its reader has seen that row. */
export function encodeCursor({ createdAt, id }: Position): string {
  return Buffer.from(`${createdAt.getTime()}.${id}`).toString('base64url');
}

/** The position of a cursor, or undefined if this package did not make it. */
export function decodeCursor(cursor: string): Position | undefined {
  const [, time, id] =
    /^(\d{1,15})\.(.{36})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  if (time === undefined || id === undefined || !uuid.accepts(id)) return undefined;
  const position = { createdAt: new Date(Number(time)), id };
  if (!instant.accepts(position.createdAt)) return undefined;
  // Other texts can decode to the same position, for example with leading zeros. Only our own text is accepted.
  return encodeCursor(position) === cursor ? position : undefined;
}

export const cursor: Rule = {
  name: 'cursor',
  message: 'must be a nextCursor that an earlier page returned',
  openApi: { type: () => String },
  accepts: (value) => typeof value === 'string' && decodeCursor(value) !== undefined,
};
