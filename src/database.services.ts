import { isDeepStrictEqual } from 'node:util';
import type { DataSource } from 'typeorm';
import type { ResolvedOptions } from './database.options.js';
import { requireNothingMisread } from './connection/host.options.js';
import { ConfigurationError } from './errors.js';
import { JobService } from './jobs/job.service.js';
import { DEFAULT_URL_SCHEMES } from './jobs/url.schemes.js';
import { NotificationService } from './notifications/notification.service.js';
import { frameForgeEntities } from './schema/entities/index.js';
import { preparedByDefault } from './sql/prepared-by-default.js';
import { JobStatistics } from './statistics/job.statistics.js';
import { UserService } from './users/user.service.js';
import { DEFAULT_REPLY_TIMEOUT_MS } from './sql/runner.defaults.js';
import type { ServiceOptions } from './sql/sql.runner.js';

/** The services of this package. */
export const SERVICES = [JobService, NotificationService, UserService, JobStatistics] as const;

type Service = (typeof SERVICES)[number];

/** The settings that a module can ask for. */
type Settings = Pick<
  ServiceOptions,
  'preparedStatements' | 'replyTimeoutMs' | 'urlSchemes' | 'jobParameters' | 'currentManager'
>;

/** A service, and the settings that it was made with. */
interface Made {
  readonly ServiceClass: Service;
  readonly settings: Settings;
  readonly service: InstanceType<Service>;
}

const made = new WeakMap<DataSource, Made[]>();

/**
 * The service of a data source. All modules get the same instance, so that a process has one worker id and its
 * calls share statements. A module with other settings gets an instance with those settings.
 *
 * @param wanted - the settings that the module asks for
 * @param options - the options of the data source, if this package opened it
 * @throws ConfigurationError if the data source lacks the entities, or has others of the same names
 */
export function serviceOn(
  ServiceClass: Service,
  dataSource: DataSource,
  wanted: Settings,
  options?: ResolvedOptions,
): InstanceType<Service> {
  requireEntities(dataSource);
  const settings: Settings = {
    preparedStatements:
      wanted.preparedStatements ?? options?.preparedStatements ?? preparedByDefault(),
    replyTimeoutMs: wanted.replyTimeoutMs ?? options?.replyTimeoutMs ?? DEFAULT_REPLY_TIMEOUT_MS,
    urlSchemes: wanted.urlSchemes ?? options?.urlSchemes ?? DEFAULT_URL_SCHEMES,
    jobParameters: wanted.jobParameters ?? options?.jobParameters,
    currentManager: wanted.currentManager ?? options?.currentManager,
  };
  const services = made.get(dataSource) ?? [];
  made.set(dataSource, services);
  const same = services.find(
    (one) => one.ServiceClass === ServiceClass && isDeepStrictEqual(one.settings, settings),
  );
  if (same !== undefined) return same.service;
  const service = new ServiceClass(dataSource, settings);
  services.push({ ServiceClass, settings, service });
  return service;
}

function requireEntities(dataSource: DataSource): void {
  requireNothingMisread(dataSource);
  const missing = frameForgeEntities.filter((entity) => !dataSource.hasMetadata(entity));
  if (missing.length > 0) {
    throw new ConfigurationError(
      `The data source of FrameForgeDatabaseModule lacks the entities ` +
        `${missing.map(({ name }) => name).join(', ')}. Add frameForgeEntities to its \`entities\` ` +
        `and frameForgeMigrations to its \`migrations\`.`,
    );
  }
  const twice = dataSource.entityMetadatas.find(({ name, target }) =>
    frameForgeEntities.some((entity) => entity.name === name && entity !== target),
  );
  if (twice === undefined) return;
  const { name, tableName } = twice;
  throw new ConfigurationError(
    `The application and this package both have an entity class ${name} on the same data source. ` +
      `Nest finds repositories by the name of the class, so @InjectRepository(${name}) could get either of ` +
      `them. Rename the application's class, and keep its table with @Entity('${tableName}'). ` +
      `Or give this package its own data source: ` +
      `FrameForgeDatabaseModule.forRoot({ name: 'frameforge' }).`,
  );
}
