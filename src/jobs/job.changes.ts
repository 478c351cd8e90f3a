import { channel } from 'node:diagnostics_channel';
import type { DataSource, EntityManager } from 'typeorm';
import { afterCommit } from '../sql/after-commit.js';

/** Jobs that have just changed, as others see them. */
export interface JobChange {
  readonly jobIds: readonly string[];
  /** Whether they were cancelled, unless a savepoint was rolled back: the database has the last word. */
  readonly areCancelled?: boolean;
}

interface Message {
  readonly dataSource: DataSource;
  readonly change: JobChange;
}

const changes = channel('frameforge:job-changes');

/**
 * Tells the rest of the process that jobs have changed, after the commit. Workers stop by it what was
 * cancelled. Nobody listening costs nothing.
 */
export function announceChange(
  dataSource: DataSource,
  manager: EntityManager | undefined,
  change: () => JobChange,
): void {
  if (!changes.hasSubscribers) return;
  const message: Message = { dataSource, change: change() };
  afterCommit(manager, () => changes.publish(message));
}

/** Calls back at each change of one data source. @returns how to end that */
export function onJobChange(
  dataSource: DataSource,
  callback: (change: JobChange) => void,
): () => void {
  const listener = (message: unknown): void => {
    const { dataSource: of, change } = message as Message;
    if (of === dataSource) callback(change);
  };
  changes.subscribe(listener);
  return () => {
    changes.unsubscribe(listener);
  };
}
