import { channel } from 'node:diagnostics_channel';
import type { DataSource, EntityManager } from 'typeorm';
import { afterCommit } from '../sql/after-commit.js';

/** A queue has just grown, and the commit is done. */
export interface QueueEvent {
  readonly dataSource: DataSource;
  /** The queue that has grown: jobs were created or retried, or notifications were logged. */
  readonly queue: 'jobs' | 'notifications';
  readonly count: number;
  /** False for a job that was retried: it has been there before. */
  readonly created: boolean;
}

/**
 * Tells the rest of the process that a queue has grown, after the commit. It wakes workers, and the metrics
 * count with it. It costs nothing while nobody listens.
 */
const events = channel('frameforge:queue');

export function announce(
  dataSource: DataSource,
  queue: QueueEvent['queue'],
  count: number,
  manager: EntityManager | undefined,
  created = true,
): void {
  if (count > 0 && events.hasSubscribers) {
    const event: QueueEvent = { dataSource, queue, count, created };
    afterCommit(manager, () => events.publish(event));
  }
}

/** Calls back at each event of one data source. @returns a function that ends this */
export function onQueueEvent(
  dataSource: DataSource,
  callback: (event: QueueEvent) => void,
): () => void {
  const listener = (message: unknown): void => {
    const event = message as QueueEvent;
    if (event.dataSource === dataSource) callback(event);
  };
  events.subscribe(listener);
  return () => {
    events.unsubscribe(listener);
  };
}
