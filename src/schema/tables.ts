import type { DataSource, EntityTarget, ObjectLiteral } from 'typeorm';
import {
  JobAttemptError,
  NotificationLog,
  ProcessingState,
  User,
  VideoJob,
  WorkerReport,
} from './entities/index.js';

/** The tables' names as SQL: quoted, and with the schema that the host application configured. */
export interface Tables {
  readonly users: string;
  readonly videoJobs: string;
  readonly notificationLog: string;
  readonly jobAttemptErrors: string;
  readonly processingState: string;
  readonly workerReports: string;
}

/** Reads the tables' names from a data source's entity metadata, the only place they come from. */
export function tablesOf(dataSource: DataSource): Tables {
  const nameOf = (entity: EntityTarget<ObjectLiteral>): string =>
    dataSource
      .getMetadata(entity)
      .tablePath.split('.')
      .map((part) => dataSource.driver.escape(part))
      .join('.');
  return {
    users: nameOf(User),
    videoJobs: nameOf(VideoJob),
    notificationLog: nameOf(NotificationLog),
    jobAttemptErrors: nameOf(JobAttemptError),
    processingState: nameOf(ProcessingState),
    workerReports: nameOf(WorkerReport),
  };
}
