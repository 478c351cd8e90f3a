import { DataSource } from 'typeorm';
import { resolveOptions } from '../../src/database.options.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import { openDataSource } from '../../src/connection/open-data-source.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import { User } from '../../src/schema/entities/index.js';
import { createDatabase } from './server.js';
import type { TestDatabase } from './server.js';
import { randomUUID } from 'node:crypto';

/** An isolated, migrated database with the services on it. */
export interface Harness {
  readonly url: string;
  readonly dataSource: DataSource;
  readonly jobs: JobService;
  readonly notifications: NotificationService;
  /** Inserts a user with a unique name and e-mail address. */
  user(values?: Partial<User>): Promise<User>;
  close(): Promise<void>;
}

/** @param on - the database; a new one on the server of this run if left out */
export async function openHarness(
  options: FrameForgeDatabaseOptions = {},
  on?: TestDatabase,
): Promise<Harness> {
  const database = on ?? (await createDatabase());
  const resolved = resolveOptions({ url: database.url, ...options });
  const silent = { log: () => {}, warn: () => {} };
  const dataSource = await openDataSource(resolved.dataSource, resolved.boot, silent);
  return {
    url: database.url,
    dataSource,
    jobs: new JobService(dataSource, resolved),
    notifications: new NotificationService(dataSource, resolved),
    user: (values = {}) => {
      const name = randomUUID();
      return dataSource.getRepository(User).save(
        dataSource.getRepository(User).create({
          username: name,
          email: `${name}@example.com`,
          passwordHash: `secret-${name}`,
          ...values,
        }),
      );
    },
    close: async () => {
      await dataSource.destroy();
      await database.drop();
    },
  };
}
