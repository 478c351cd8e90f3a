import { ConfigurableModuleBuilder, Inject, Logger, Module } from '@nestjs/common';
import type { DynamicModule, InjectionToken, Provider } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';
import { openDataSource } from './connection/open-data-source.js';
import { resolveOptions } from './database.options.js';
import type { BootOptions, FrameForgeDatabaseOptions } from './database.options.js';
import { ConfigurationError } from './errors.js';
import { JobService } from './jobs/job.service.js';
import { NotificationService } from './notifications/notification.service.js';
import { frameForgeEntities } from './schema/entities/index.js';

/** What `forFeature` takes. */
export interface FrameForgeFeatureOptions {
  /** The name of the application's data source; the default one if left out. */
  readonly dataSource?: string;
  /** Keep plans by name. Set false behind PgBouncer before 1.21 in transaction mode. Default true. */
  readonly preparedStatements?: boolean;
}

/** The class that `forRootAsync({ useClass })` or `useExisting` names implements this. */
export interface FrameForgeDatabaseOptionsFactory {
  createFrameForgeDatabaseOptions(): FrameForgeDatabaseOptions | Promise<FrameForgeDatabaseOptions>;
}

/** Hands the options to TypeORM's module and to ours: both have to import where they live. */
@Module({})
class OptionsModule {}

const OPTIONS = Symbol('FrameForgeDatabaseOptions');

const { ConfigurableModuleClass, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<FrameForgeDatabaseOptions>({ optionsInjectionToken: OPTIONS })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createFrameForgeDatabaseOptions')
    .setExtras<{ name?: string }>(
      { name: undefined },
      ({ module, providers, imports }, { name }) => {
        const options: DynamicModule = {
          module: OptionsModule,
          imports,
          providers,
          exports: [OPTIONS],
        };
        const connection = TypeOrmModule.forRootAsync({
          name,
          imports: [options],
          inject: [OPTIONS],
          useFactory: (given?: FrameForgeDatabaseOptions) => {
            const { dataSource, boot, autoLoadEntities } = resolveOptions(given);
            // Nest would retry whatever fails, a broken migration too: openDataSource knows better.
            return {
              ...dataSource,
              boot,
              autoLoadEntities,
              retryAttempts: 1,
              toRetry: () => false,
            };
          },
          dataSourceFactory: open,
        });
        return room(module, name, [options, connection], OPTIONS);
      },
    )
    .build();

const logger = new Logger('FrameForgeDatabaseModule');

/** Opens the data source of what the factory above returned, after Nest has added its entities. */
function open(given?: object): Promise<DataSource> {
  const { boot, autoLoadEntities, retryAttempts, toRetry, name, ...dataSource } = given as {
    boot: BootOptions;
  } & Record<string, unknown>;
  return openDataSource(dataSource as unknown as PostgresDataSourceOptions, boot, logger);
}

/** The repositories and services on one data source. */
function room(
  module: DynamicModule['module'],
  name: string | undefined,
  imports: DynamicModule['imports'] & object,
  optionsToken: InjectionToken,
): DynamicModule {
  const services = [JobService, NotificationService].flatMap((Service): Provider[] => [
    {
      provide: Service,
      inject: [getDataSourceToken(name), { token: optionsToken, optional: true }],
      useFactory: (dataSource: DataSource, options?: { preparedStatements?: boolean }) => {
        requireEntities(dataSource);
        return new Service(dataSource, { preparedStatements: options?.preparedStatements });
      },
    },
    ...(name === undefined ? [] : [{ provide: serviceToken(Service, name), useExisting: Service }]),
  ]);
  const repositories = TypeOrmModule.forFeature(frameForgeEntities, name);
  return {
    module,
    // Like TypeORM's own connection: imported once, known everywhere. A named one is imported where
    // it is wanted, so that JobService by its class means one data source.
    global: name === undefined,
    imports: [...imports, repositories],
    providers: services,
    exports: [
      repositories,
      ...services.map((service) => (service as { provide: InjectionToken }).provide),
    ],
  };
}

function requireEntities(dataSource: DataSource): void {
  const missing = frameForgeEntities.filter((entity) => !dataSource.hasMetadata(entity));
  if (missing.length > 0) {
    throw new ConfigurationError(
      `The data source of FrameForgeDatabaseModule.forFeature lacks the entities ` +
        `${missing.map(({ name }) => name).join(', ')}. Add frameForgeEntities to its \`entities\` ` +
        `and frameForgeMigrations to its \`migrations\`.`,
    );
  }
}

/** The token of a service on a named data source. */
function serviceToken(service: { name: string }, dataSource: string): string {
  return `${dataSource}${service.name}`;
}

/** Injects the `JobService` of a named data source, where one module imports several. */
export const InjectJobService = (dataSource?: string): ParameterDecorator & PropertyDecorator =>
  Inject(dataSource === undefined ? JobService : serviceToken(JobService, dataSource));

/** Injects the `NotificationService` of a named data source, where one module imports several. */
export const InjectNotificationService = (
  dataSource?: string,
): ParameterDecorator & PropertyDecorator =>
  Inject(
    dataSource === undefined ? NotificationService : serviceToken(NotificationService, dataSource),
  );

/**
 * The FrameForge database in a Nest application: its data source, migrated on boot, the repositories
 * (`@InjectRepository(VideoJob)`), `JobService` and `NotificationService`.
 */
@Module({})
export class FrameForgeDatabaseModule extends ConfigurableModuleClass {
  /**
   * Opens a data source of the package's own.
   *
   * @param options - see `FrameForgeDatabaseOptions`; `name` makes it a named data source
   */
  static override forRoot(
    options: FrameForgeDatabaseOptions & { name?: string } = {},
  ): DynamicModule {
    return super.forRoot(options);
  }

  /**
   * Likewise, with options that are made at boot: `{ imports, inject, useFactory }`, or `useClass` or
   * `useExisting` with a `FrameForgeDatabaseOptionsFactory`.
   */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return super.forRootAsync(options);
  }

  /**
   * The same repositories and services on a data source that the application has already. Its options
   * need `frameForgeEntities` and `frameForgeMigrations`, and `uuidExtension: 'pgcrypto'`.
   */
  static forFeature({
    dataSource,
    preparedStatements,
  }: FrameForgeFeatureOptions = {}): DynamicModule {
    const token = Symbol('FrameForgeFeatureOptions');
    const options: DynamicModule = {
      module: OptionsModule,
      providers: [{ provide: token, useValue: { preparedStatements } }],
      exports: [token],
    };
    return { ...room(FrameForgeDatabaseModule, dataSource, [options], token), global: false };
  }
}
