import { ConfigurableModuleBuilder, Inject, Logger, Module } from '@nestjs/common';
import type { DynamicModule, Type } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import type { PostgresOptions } from './peers/typeorm.internals.js';
import { ConnectionDrain } from './connection/draining.data-source.js';
import { openDataSource } from './migrations/open-data-source.js';
import { DEFAULT_SHUTDOWN_TIMEOUT_MS, resolveOptions } from './database.options.js';
import type {
  BootOptions,
  FrameForgeDatabaseOptions,
  ResolvedOptions,
} from './database.options.js';
import { SERVICES, serviceOn } from './database.services.js';
import { ConfigurationError } from './errors.js';
import type { OptionRule } from './input/option.rules.js';
import {
  aFunction,
  anything,
  flag,
  list,
  wholeNumber,
  optionProblems,
  text,
  urlSchemes,
} from './input/option.rules.js';
import type { CurrentManager } from './sql/sql.runner.js';
import { JobService } from './jobs/job.service.js';
import { QueueAnnouncer } from './jobs/queue.announcer.js';
import { NotificationService } from './notifications/notification.service.js';
import { JobStatistics } from './statistics/job.statistics.js';
import { UserService } from './users/user.service.js';
import { linkedNest } from './peers/nest.copies.js';
import { requireOneCopy } from './schema/copies.js';
import { frameForgeEntities } from './schema/entities/index.js';

/** The options of `forFeature`. */
export interface FrameForgeFeatureOptions {
  /** The name of the application's data source; the default one if left out. */
  readonly dataSource?: string;
  /** Keep plans by name, as the option of `forRoot`. Default: the value of the `forRoot` that opened the data source. */
  readonly preparedStatements?: boolean;
  /** How long to wait for a connection and for a reply, in ms, as the option of `forRoot`. Default: that value, else 30,000. */
  readonly replyTimeoutMs?: number;
  /** The schemes that URLs may have, as the option of `forRoot`. Default: that value, else https, http, s3, gs, file. */
  readonly urlSchemes?: readonly string[];
  /** A class that checks the parameters of new jobs, as the option of `forRoot`. Default: that value. */
  readonly jobParameters?: new () => object;
  /** Finds the transaction that a call joins, as the option of `forRoot`. Default: that value. */
  readonly currentManager?: CurrentManager;
  /** Wake up workers in other processes, as the option of `forRoot`. Default false. */
  readonly notifyWorkers?: boolean;
  /** Let watchers hear other processes, as the option of `forRoot`. Default: that value, else false. */
  readonly listen?: boolean;
}

/** The class that `forRootAsync({ useClass })` or `useExisting` names implements this. */
export interface FrameForgeDatabaseOptionsFactory {
  /** Makes the options, once, at boot. */
  createFrameForgeDatabaseOptions(): FrameForgeDatabaseOptions | Promise<FrameForgeDatabaseOptions>;
}

/** The token of the options as the application gave them, not checked yet. */
const GIVEN_OPTIONS = Symbol('FrameForgeDatabaseOptions');

/**
 * Provides the options of one data source: for TypeORM's module, which opens it, and for every module with
 * services on it. It is global, under a token with the data source's name.
 */
@Module({})
class OptionsModule {}

const { ConfigurableModuleClass, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<FrameForgeDatabaseOptions>({ optionsInjectionToken: GIVEN_OPTIONS })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createFrameForgeDatabaseOptions')
    .setExtras<{ name?: string }>(
      { name: undefined },
      ({ module, providers = [], imports = [] }, { name }) => {
        const token = optionsToken(name);
        const options: DynamicModule = {
          module: OptionsModule,
          global: true,
          imports,
          providers: [
            ...providers,
            { provide: token, inject: [GIVEN_OPTIONS], useFactory: resolveOptions },
          ],
          exports: [token],
        };
        const connection = TypeOrmModule.forRootAsync({
          name,
          inject: [token],
          // Nest would retry every error, even a broken migration. openDataSource retries only what can pass.
          useFactory: ({ dataSource, boot, autoLoadEntities }: ResolvedOptions) => ({
            ...dataSource,
            // @nestjs/typeorm before 12 finds the data source that it closes by this name.
            name,
            boot,
            autoLoadEntities,
            toRetry: () => false,
          }),
          dataSourceFactory: open,
        });
        const onDataSource = repositoriesAndServices(module, name, [options, connection]);
        return { ...onDataSource, global: isDefault(name) };
      },
    )
    .build();

const logger = new Logger('FrameForgeDatabaseModule');

/** Opens a data source with the options of the factory above, after Nest has added its entities. */
function open(given?: object): Promise<DataSource> {
  requireOneCopy();
  const { boot, autoLoadEntities, toRetry, name, ...dataSource } = given as {
    boot: BootOptions;
  } & Record<string, unknown>;
  return openDataSource(dataSource as unknown as PostgresOptions, boot, logger);
}

/**
 * A module with the repositories and services on one data source.
 *
 * @param wanted - the options of this module; an option that is left out has the value of the data source's `forRoot`
 */
function repositoriesAndServices(
  module: DynamicModule['module'],
  name: string | undefined,
  imports: DynamicModule['imports'] & object,
  wanted: Omit<FrameForgeFeatureOptions, 'dataSource'> = {},
): DynamicModule {
  requireOneCopy();
  const linked = linkedNest();
  if (linked !== undefined) logger.warn(linked);
  const inject = [getDataSourceToken(name), { token: optionsToken(name), optional: true }];
  const services = SERVICES.map((Service) => ({
    provide: Service,
    inject,
    useFactory: (dataSource: DataSource, options?: ResolvedOptions) =>
      serviceOn(Service, dataSource, wanted, options),
  }));
  const named = SERVICES.filter(() => !isDefault(name)).map((Service) => ({
    provide: serviceToken(Service, name),
    useExisting: Service,
  }));
  const announcer = {
    provide: QueueAnnouncer,
    inject,
    useFactory: (dataSource: DataSource, options?: ResolvedOptions) => {
      const notifyWorkers = wanted.notifyWorkers ?? options?.notifyWorkers ?? false;
      const listen = wanted.listen ?? options?.listen ?? false;
      const how = { notifyWorkers, listen };
      return new QueueAnnouncer(dataSource, how, (message) => logger.warn(message));
    },
  };
  const repositories = TypeOrmModule.forFeature(frameForgeEntities, name);
  return {
    module,
    imports: [...imports, repositories],
    providers: [...services, ...named, announcer],
    exports: [repositories, ...[...services, ...named].map(({ provide }) => provide)],
  };
}

/** Whether this is the data source without a name, which TypeORM calls `default`. */
const isDefault = (name?: string): boolean => name === undefined || name === 'default';

const optionsToken = (name?: string): string => `${name ?? 'default'}FrameForgeDatabaseOptions`;

/** The token of a service: its class, or for a named data source a text in the form of `@nestjs/typeorm`. */
function serviceToken(service: Type, name?: string): Type | string {
  return isDefault(name) ? service : `${name}${service.name}`;
}

/** Injects the `JobService` of a named data source. */
export const InjectJobService = (dataSource?: string): ParameterDecorator & PropertyDecorator =>
  Inject(serviceToken(JobService, dataSource));

/** Injects the `NotificationService` of a named data source. */
export const InjectNotificationService = (
  dataSource?: string,
): ParameterDecorator & PropertyDecorator => Inject(serviceToken(NotificationService, dataSource));

/** Injects the `JobStatistics` of a named data source. */
export const InjectJobStatistics = (dataSource?: string): ParameterDecorator & PropertyDecorator =>
  Inject(serviceToken(JobStatistics, dataSource));

/** Injects the `UserService` of a named data source. */
export const InjectUserService = (dataSource?: string): ParameterDecorator & PropertyDecorator =>
  Inject(serviceToken(UserService, dataSource));

/**
 * Refuses unknown options. A misspelt `dataSource` would silently mean the default data source.
 *
 * @param method - the method that got the options
 */
function refuseWrong(
  method: string,
  options: object,
  rules: Readonly<Record<string, OptionRule>>,
): void {
  const unknown = Object.keys(options).filter((key) => !Object.hasOwn(rules, key));
  if (unknown.length > 0) {
    throw new ConfigurationError(
      `FrameForgeDatabaseModule.${method} does not take \`${unknown.join('`, `')}\`: ` +
        `it takes ${Object.keys(rules).join(', ')}.`,
    );
  }
  const problems = optionProblems(options, rules);
  if (problems.length > 0) {
    throw new ConfigurationError(
      `FrameForgeDatabaseModule.${method} was given wrong options: ${problems.join('; ')}.`,
    );
  }
}

/**
 * The FrameForge database in a Nest application: its data source, migrated on boot, the repositories
 * (`@InjectRepository(VideoJob)`), `JobService`, `NotificationService` and `UserService`.
 *
 * On the default data source, `forRoot` makes them available in every module. For a named data source they are
 * available where the module is imported, by class and by name (`@InjectJobService(name)`). A module that
 * imports several data sources must inject by name: by class it gets the services of the first import.
 */
@Module({})
export class FrameForgeDatabaseModule extends ConfigurableModuleClass {
  /**
   * Opens a data source. The options are checked at boot.
   *
   * @param options - see `FrameForgeDatabaseOptions`; `name` makes it a named data source
   */
  static override forRoot(
    options: FrameForgeDatabaseOptions & { name?: string } = {},
  ): DynamicModule {
    return super.forRoot(options);
  }

  /**
   * Opens a data source with options that are made at boot. Pass `{ imports, inject, useFactory }`, or
   * `useClass` or `useExisting` with a `FrameForgeDatabaseOptionsFactory`. `name` makes it a named data
   * source.
   *
   * @throws ConfigurationError unless exactly one of the three ways is given
   */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    const ways = ['useFactory', 'useClass', 'useExisting'] as const;
    refuseWrong('forRootAsync', options, {
      useFactory: aFunction,
      useClass: aFunction,
      useExisting: anything,
      imports: list,
      inject: list,
      provideInjectionTokensFrom: list,
      name: text,
    });
    if (ways.filter((way) => options[way] !== undefined).length !== 1) {
      throw new ConfigurationError(
        `FrameForgeDatabaseModule.forRootAsync takes exactly one of ${ways.join(', ')}.`,
      );
    }
    return super.forRootAsync(options);
  }

  /**
   * Provides the repositories and services on a data source that the application opened itself, or that a
   * `forRoot` with a `name` opened. However many modules import this, a data source has one of each service.
   * The application's data source needs `frameForgeEntities` (or `autoLoadEntities`) and
   * `frameForgeMigrations`. Also set `installExtensions: false` and `uuidExtension: 'pgcrypto'`; otherwise
   * TypeORM asks for an extension that this package does not need.
   *
   * @throws ConfigurationError at boot if the data source lacks the entities, or has other entities with their
   *   names
   */
  static forFeature(options: FrameForgeFeatureOptions = {}): DynamicModule {
    refuseWrong('forFeature', options, {
      dataSource: text,
      preparedStatements: flag,
      replyTimeoutMs: wholeNumber(1, 2 ** 31 - 1, 'milliseconds'),
      urlSchemes,
      jobParameters: aFunction,
      currentManager: aFunction,
      notifyWorkers: flag,
      listen: flag,
    });
    const { dataSource, ...wanted } = options;
    const { providers = [], ...rest } = repositoriesAndServices(
      FrameForgeDatabaseModule,
      dataSource,
      [],
      wanted,
    );
    const drain = {
      provide: ConnectionDrain,
      inject: [getDataSourceToken(dataSource)],
      useFactory: (opened: DataSource) => new ConnectionDrain(opened, DEFAULT_SHUTDOWN_TIMEOUT_MS),
    };
    return { ...rest, providers: [...providers, drain] };
  }
}
