import type { DataSource, EntityTarget, ObjectLiteral } from 'typeorm';
import {
  JobAttemptError,
  NotificationLog,
  ProcessingState,
  User,
  VideoJob,
  WorkerReport,
} from './entities/index.js';

/** The names of the tables as SQL: quoted, and with the schema that the application configured. */
export interface Tables {
  readonly users: string;
  readonly videoJobs: string;
  readonly notificationLog: string;
  readonly jobAttemptErrors: string;
  readonly processingState: string;
  readonly workerReports: string;
}

/** Reads the names of the tables from the entity metadata of a data source. They come from nowhere else. */
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
