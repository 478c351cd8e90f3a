import { randomUUID } from 'node:crypto';

/** How many ids one millisecond can have: the counter has 12 bits. */
const IDS_PER_MS = 4_096;

/**
 * Makes a UUID of version 7 (RFC 9562): the time in milliseconds, a counter (6.2, method 1), and 62
 * random bits. In one process, a later id is larger than an earlier one. So rows that are created together
 * are close together in the primary key. Work on new rows touches few of its pages, however many old rows
 * there are. With random ids (version 4) each row would cost a page of its own, to read it, and to write it
 * to the log after a checkpoint.
 */
export function uuidV7(): string {
  const now = Date.now();
  // If the clock was set back, the last time is used on. If the counter is full, the next millisecond is used.
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
