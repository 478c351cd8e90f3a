import { decodeCursor, encodeCursor } from '../input/cursor.js';
import type { Position } from '../input/cursor.js';
import type { Rule } from '../input/rules.js';
import { cursor } from '../input/cursor.js';
import { beforeTime, MAX_ID } from './search.pages.js';
import type { Found, FoundNotification } from './statistics.types.js';

// Notifications are found in the order of their ids, which is that of time: no index has their time, because it
// would cost each of them more than their readers gain. Services of before this package made random ids. Those
// come last; a search looks at 19,950 of them, and puts these in the order of time.

/** A place in the list of notifications. */
export interface Place {
  /** After which time and id to go on; from the first one on if left out. */
  readonly position?: readonly string[];
  /** From which id on to look at those with random ids, downwards; left out among the others. */
  readonly startId?: string;
}

/** Where a search ended: at a notification that it has not looked at. */
export interface EndOfOlder {
  readonly at: Date;
  readonly id: string;
}

/** Reads notifications with random ids, one more than the count if there are so many. */
export type ReadOlder = (
  startId: string,
  position: readonly string[],
  count: number,
) => Promise<FoundNotification[]>;

const DAY_MS = 86_400_000;

/**
 * An id that is after all that are in the order of time, also where a clock is a day ahead. Of random ids,
 * 99 in a hundred are after it; the others are found among those that are in the order of time.
 */
export function idAfterAllOfToday(): string {
  const time = (Date.now() + DAY_MS).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-0000-0000-000000000000`;
}

/** Between the two cursors of a place among the older ones; in no cursor. */
const AND = '.';
/** A time that is after all others. */
const LAST = new Date(253_402_300_799_999);

/** A cursor, or two: the second one says where a search of the older ones began. */
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

/** @param limit - may be 0: then it is said whether there are more */
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
