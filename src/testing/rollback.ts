import type { DataSource, EntityManager } from 'typeorm';
import { JobService } from '../jobs/job.service.js';
import { NotificationService } from '../notifications/notification.service.js';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import { SqlRunner } from '../sql/sql.runner.js';

/** The services, every call of which is part of one transaction. */
export interface JoinedServices {
  readonly jobs: JobService;
  readonly notifications: NotificationService;
}

/**
 * Runs a test in a transaction, and rolls that back, whatever comes of the test: the database is as it
 * was. It is faster than `truncate()`, for code that takes a manager and needs no commit.
 *
 * @param work - is given the transaction's manager, and services of which every call joins it:
 *   also those that outside of tests never join one, such as `claimJobs`
 * @returns what `work` returns
 */
export async function withRollback<T>(
  dataSource: DataSource,
  work: (
    manager: EntityManager,
    jobService: JobService,
    notificationService: NotificationService,
  ) => Promise<T>,
): Promise<T> {
  const queryRunner = dataSource.createQueryRunner();
  try {
    await queryRunner.startTransaction();
    const { jobs, notifications } = servicesIn(queryRunner.manager);
    return await work(queryRunner.manager, jobs, notifications);
  } finally {
    // Also the savepoints that the test has left open; a connection that broke has nothing open.
    while (queryRunner.isTransactionActive && !queryRunner.isReleased) {
      await queryRunner.rollbackTransaction();
    }
    await queryRunner.release();
  }
}

/** The services in a manager's transaction. Without names for plans: any pooler does. */
export function servicesIn(manager: EntityManager): JoinedServices {
  const dataSource = dataSourceOf(manager);
  const runner = new SqlRunner(dataSource, false, { manager });
  return {
    jobs: new JobService(dataSource, { runner }),
    notifications: new NotificationService(dataSource, { runner }),
  };
}
