import { randomUUID } from 'node:crypto';

/**
 * Makes a UUID of version 7 (RFC 9562, 5.7): the time in milliseconds, then 74 random bits. The ids of
 * jobs that are created together lie together in the primary key, and work on new jobs touches few of
 * its pages, however many old ones there are; a random id (version 4) lies anywhere, so that each job
 * costs a page of its own to read, and to write to the log after a checkpoint.
 */
export function uuidV7(): string {
  const now = Date.now();
  // A batch of ten thousand has a few different times.
  if (now !== last.at) last = { at: now, prefix: prefixOf(now) };
  return last.prefix + randomUUID().slice(15);
}

let last = { at: NaN, prefix: '' };

function prefixOf(ms: number): string {
  const time = ms.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7`;
}
