import type { DataSource } from 'typeorm';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import { resolveOptions } from '../../src/database.options.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import type { User } from '../../src/schema/entities/index.js';
import { UserService } from '../../src/users/user.service.js';
import { createTestDatabase } from '../../src/testing/test.database.js';
import { userFixture } from '../../src/testing/user.fixture.js';
import type { TestDatabase } from './server.js';

/** An isolated, migrated database, and the services on it. */
export interface Harness {
  readonly url: string;
  readonly dataSource: DataSource;
  readonly jobs: JobService;
  readonly notifications: NotificationService;
  readonly users: UserService;
  /** Inserts a user with a unique name and e-mail address. */
  user(values?: Partial<User>): Promise<User>;
  close(): Promise<void>;
}

/** Opens a harness. @param on - the database; a new one on the server of this run if left out */
export async function openHarness(
  options: FrameForgeDatabaseOptions = {},
  on?: TestDatabase,
): Promise<Harness> {
  // The schema depends on these options. All other options are only for the data source of the test.
  const { entities, migrations, schema, migrationsTableName } = options;
  const database =
    on ?? (await createTestDatabase({ entities, migrations, schema, migrationsTableName }));
  const resolved = resolveOptions({ url: database.url, ...options });
  const silent = { log: () => {}, warn: () => {} };
  const dataSource = await openDataSource(resolved.dataSource, resolved.boot, silent);
  return {
    url: database.url,
    dataSource,
    jobs: new JobService(dataSource, resolved),
    notifications: new NotificationService(dataSource, resolved),
    users: new UserService(dataSource, resolved),
    user: (values = {}) => userFixture(values).persist(dataSource),
    close: async () => {
      await dataSource.destroy();
      await database.drop();
    },
  };
}
