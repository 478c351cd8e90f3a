import { decodeCursor, encodeCursor } from '../input/cursor.js';
import type { Position } from '../input/cursor.js';
import { NIL_ID } from './search.sql.js';
import type { Found } from './statistics.types.js';

export const MAX_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** The place where a search stopped because it had looked at its maximum of rows. */
export interface End {
  /** The time of the first row that it looked at. */
  readonly begin: Date;
  /** The time of the last row. */
  readonly end: Date;
  /** The id of the last row; null if rows of one time were read in any order. */
  readonly id: string | null;
}

/** The step between two times, because they are stored in milliseconds. */
const STEP_MS = 1;

/** The position for a search, newest first, that begins just before a time. */
export const beforeTime = (to: Date | undefined): string[] =>
  to === undefined ? ['infinity', MAX_ID] : [timeAt(to, -STEP_MS).toISOString(), MAX_ID];

const timeAt = (time: Date, afterMs: number): Date => new Date(time.getTime() + afterMs);

export function positionOf(cursor: string | null | undefined): string[] | undefined {
  const position = typeof cursor === 'string' ? decodeCursor(cursor) : undefined;
  return position && [position.createdAt.toISOString(), position.id];
}

/**
 * Makes a page from the rows that a search has found.
 *
 * The search may have seen only some of the rows of the time at which it stopped. The rows of that time wait for
 * the next page, which begins with that time. If all rows that it looked at have one time, there are more rows of
 * this time than one search looks at. Then the next page goes past this time.
 *
 * @param rows - the found rows, one more than the limit if there are so many
 * @param end - asks where the search stopped; left out if it looked at all rows
 */
export async function pageOf<T>(
  rows: readonly T[],
  limit: number,
  placeOf: (row: T) => Position,
  end?: { readonly direction: 'ASC' | 'DESC'; readonly read: () => Promise<End[]> },
): Promise<Found<T>> {
  const found = rows.slice(0, limit);
  const [last, next] = [found.at(-1), rows[limit]].map((row) => row && placeOf(row));
  const isFull = last !== undefined && next !== undefined;
  const full = { found, nextCursor: isFull ? encodeCursor(last) : null, stoppedAt: null };
  if (isFull && !isSame(last.createdAt, next.createdAt)) return full;
  const [stopped] = (await end?.read()) ?? [];
  if (stopped === undefined) return full;
  const { id, end: at } = stopped;
  const isOneTime = isSame(stopped.begin, at);
  const isCut = id === null && !isOneTime;
  if (isFull && !(isCut && isSame(last.createdAt, at))) return full;
  const [step, begin] = end?.direction === 'ASC' ? [STEP_MS, NIL_ID] : [-STEP_MS, MAX_ID];
  const goOnAt = isOneTime ? timeAt(at, step) : at;
  return {
    found: isCut ? found.filter((row) => !isSame(placeOf(row).createdAt, at)) : found,
    nextCursor: encodeCursor(
      id === null ? { createdAt: goOnAt, id: begin } : { createdAt: at, id },
    ),
    stoppedAt: at,
  };
}

const isSame = (a: Date, b: Date): boolean => a.getTime() === b.getTime();
