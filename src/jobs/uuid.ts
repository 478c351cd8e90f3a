import { randomUUID } from 'node:crypto';

/** How many ids of one millisecond are in order: the counter has 12 bits. */
const IDS_PER_MS = 4_096;

/**
 * Makes a UUID of version 7 (RFC 9562): the time in milliseconds, a counter (6.2, method 1), and 62
 * random bits. Of two ids of this process, the later one is the larger one. The ids of rows that are
 * created together lie together in the primary key, and work on new rows touches few of its pages,
 * however many old ones there are. A random id (version 4) lies anywhere: each row then costs a page of
 * its own to read, and to write to the log after a checkpoint.
 */
export function uuidV7(): string {
  const now = Date.now();
  // A clock that was set back, or a full counter, takes from the time to come.
  if (now > last.ms) last = { ms: now, count: 0, prefix: prefixOf(now) };
  else if (last.count + 1 < IDS_PER_MS) last.count += 1;
  else last = { ms: last.ms + 1, count: 0, prefix: prefixOf(last.ms + 1) };
  return last.prefix + last.count.toString(16).padStart(3, '0') + randomUUID().slice(18);
}

let last = { ms: 0, count: 0, prefix: '' };

function prefixOf(ms: number): string {
  const time = ms.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7`;
}
