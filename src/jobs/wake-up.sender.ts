import type { DataSource } from 'typeorm';
import { onQueueEvent } from './job.events.js';

/** The channel of `LISTEN` and `NOTIFY`; the payload is the queue that has grown. */
export const WAKE_UP_CHANNEL = 'frameforge_queue';

/** The least time between two notifications of a process, in ms. */
const COALESCE_MS = 10;

/**
 * Wakes the workers of other processes by `NOTIFY` when this one has committed something to do. It is
 * sent after the commit, and once for all that came within 10 ms: a `NOTIFY` in each insert's own
 * transaction takes a lock that all commits share, and costs more than half of their throughput.
 *
 * @param warn - is told of a notification that could not be sent; the workers' polls make up for it
 * @returns how to end that
 */
export function sendWakeUps(dataSource: DataSource, warn: (error: unknown) => void): () => void {
  const pending = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let last = -Infinity;
  const flush = (): void => {
    timer = undefined;
    last = performance.now();
    const queues = [...pending];
    pending.clear();
    if (!dataSource.isInitialized) return;
    dataSource
      .query('SELECT pg_notify($1, queue) FROM unnest($2::text[]) AS queue', [
        WAKE_UP_CHANNEL,
        queues,
      ])
      .catch(warn);
  };
  const end = onQueueEvent(dataSource, ({ queue }) => {
    pending.add(queue);
    timer ??= setTimeout(flush, Math.max(last + COALESCE_MS - performance.now(), 0)).unref();
  });
  return () => {
    clearTimeout(timer);
    end();
  };
}
