import type { DataSource, EntityManager } from 'typeorm';
import { JobService } from '../jobs/job.service.js';
import { NotificationService } from '../notifications/notification.service.js';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import { SqlRunner } from '../sql/sql.runner.js';

/** Services whose calls all join one transaction. */
export interface JoinedServices {
  readonly jobs: JobService;
  readonly notifications: NotificationService;
}

/**
 * Runs a test in a transaction, and always rolls the transaction back, so the database stays unchanged. It is
 * faster than `truncate()`. Use it for code that takes a manager and needs no commit.
 *
 * @param work - the test. It gets the manager of the transaction, and services whose calls all join it, even
 *   those that never join a transaction outside tests, such as `claimJobs`
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
    // It also rolls back savepoints that the test has left open. A broken connection has no open transaction.
    while (queryRunner.isTransactionActive && !queryRunner.isReleased) {
      await queryRunner.rollbackTransaction();
    }
    await queryRunner.release();
  }
}

/** Makes the services in a manager's transaction. They use no named plans, so any pooler works. */
export function servicesIn(manager: EntityManager): JoinedServices {
  const dataSource = dataSourceOf(manager);
  const runner = new SqlRunner(dataSource, false, { manager });
  return {
    jobs: new JobService(dataSource, { runner }),
    notifications: new NotificationService(dataSource, { runner }),
  };
}
