import { decodeCursor, encodeCursor } from '../input/cursor.js';
import type { Position } from '../input/cursor.js';
import type { Rule } from '../input/rules.js';
import { cursor } from '../input/cursor.js';
import { beforeTime, MAX_ID } from './search.pages.js';
import type { Found, FoundNotification } from './statistics.types.js';

// Notifications are found in the order of their ids, which is the order of time. No index has their time, because
// it would cost each write more than readers gain. Older services made random ids. Notifications with random ids
// come last. One search looks at 19,950 of them, and sorts these by time.

/** A place in the list of notifications. */
export interface Place {
  /** The time and id after which to go on; the search begins at the first notification if left out. */
  readonly position?: readonly string[];
  /** The id from which to look downwards at notifications with random ids; left out for other notifications. */
  readonly startId?: string;
}

/** The place where a search ended: a notification that it has not looked at. */
export interface EndOfOlder {
  readonly at: Date;
  readonly id: string;
}

/** Reads notifications with random ids. If there are more than the count, it reads one more. */
export type ReadOlder = (
  startId: string,
  position: readonly string[],
  count: number,
) => Promise<FoundNotification[]>;

const DAY_MS = 86_400_000;

/**
 * An id after all ids that are in the order of time, even if a clock is a day ahead. 99 of 100 random ids are
 * after it. A search finds the others among the ids that are in the order of time.
 */
export function idAfterAllOfToday(): string {
  const time = (Date.now() + DAY_MS).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-0000-0000-000000000000`;
}

/** The separator between the two cursors of a place among older notifications. No cursor contains it. */
const AND = '.';
/** A time after all other times. */
const LAST = new Date(253_402_300_799_999);

/** One cursor, or two. The second says where a search of older notifications began. */
export const notificationCursor: Rule = {
  ...cursor,
  accepts: (value) =>
    typeof value === 'string' && value.split(AND).length <= 2 && value.split(AND).every(isCursor),
};

const isCursor = (text: string): boolean => decodeCursor(text) !== undefined;

export function placeAmongNotifications(given: string | null | undefined): Place {
  const [position, start] = (given ?? '').split(AND).map(decodeCursor);
  return {
    ...(position && { position: [position.createdAt.toISOString(), position.id] }),
    ...(start && { startId: start.id }),
  };
}

export const placeOfNotification = (row: FoundNotification): Position => ({
  createdAt: row.createdAt,
  id: row.notificationId,
});

const cursorOf = (position: Position, startId: string): string =>
  encodeCursor(position) + AND + encodeCursor({ createdAt: LAST, id: startId });

/** Reads a page of older notifications. @param limit - may be 0; the page then only says whether there are more */
export async function olderPage(
  { position = beforeTime(undefined), startId = MAX_ID }: Place,
  limit: number,
  read: ReadOlder,
  readEnd: (startId: string) => Promise<EndOfOlder[]>,
): Promise<Found<FoundNotification>> {
  const rows = await read(startId, position, limit);
  const found = rows.slice(0, limit);
  if (rows.length > limit) {
    const last = found.at(-1);
    const place = last === undefined ? { createdAt: LAST, id: MAX_ID } : placeOfNotification(last);
    return { found, nextCursor: cursorOf(place, startId), stoppedAt: null };
  }
  const [end] = await readEnd(startId);
  if (end === undefined) return { found, nextCursor: null, stoppedAt: null };
  const nextCursor = cursorOf({ createdAt: LAST, id: MAX_ID }, end.id);
  return { found, nextCursor, stoppedAt: end.at };
}
