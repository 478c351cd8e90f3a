import { channel } from 'node:diagnostics_channel';
import type { DataSource, EntityManager } from 'typeorm';
import { afterCommit } from '../sql/after-commit.js';

/** A job that has just changed. */
export interface ChangedJob {
  readonly jobId: string;
  /** The user of the job, if the job was created. */
  readonly userId?: string;
}

/** Jobs that have just changed. The change is committed. */
export interface JobChange {
  readonly jobs: readonly ChangedJob[];
  /** Whether they were cancelled. After a savepoint was rolled back this may be wrong: ask the database. */
  readonly areCancelled?: boolean;
}

interface Message {
  readonly dataSource: DataSource;
  readonly change: JobChange;
}

const changes = channel('frameforge:job-changes');

/**
 * Tells the rest of the process that jobs have changed, after the commit. Workers then stop cancelled jobs,
 * and watchers read the jobs that they watch. It costs nothing while nobody listens.
 *
 * @param change - says which jobs, if anybody listens
 */
export function announceChange(
  dataSource: DataSource,
  manager: EntityManager | undefined,
  change: () => JobChange,
): void {
  if (!changes.hasSubscribers) return;
  const message: Message = { dataSource, change: change() };
  if (message.change.jobs.length > 0) afterCommit(manager, () => changes.publish(message));
}

/** As {@link announceChange}, for jobs that were created. */
export const announceCreated = (
  dataSource: DataSource,
  manager: EntityManager | undefined,
  jobs: () => readonly ChangedJob[],
): void =>
  announceChange(dataSource, manager, () => {
    return { jobs: jobs().map(({ jobId, userId }) => ({ jobId, userId })) };
  });

/** As {@link announceChange}, for jobs that were there before. */
export const announceMoved = (
  dataSource: DataSource,
  manager: EntityManager | undefined,
  jobs: () => readonly ChangedJob[],
): void =>
  announceChange(dataSource, manager, () => {
    return { jobs: jobs().map(({ jobId }) => ({ jobId })) };
  });

/** Calls back at each change of one data source. @returns a function that ends this */
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
