import { ConfigurableModuleBuilder, Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { DiscoveryModule, DiscoveryService } from '@nestjs/core';
import { FrameForgeDatabaseModule } from '../database.module.js';
import { JobService } from '../jobs/job.service.js';
import { FrameForgeWorker } from './frameforge.worker.js';
import { resolveWorkerOptions } from './worker.options.js';
import type { FrameForgeWorkerOptions } from './worker.options.js';

const OPTIONS = Symbol('FrameForgeWorkerOptions');

const { ConfigurableModuleClass, ASYNC_OPTIONS_TYPE } = new ConfigurableModuleBuilder<
  Omit<FrameForgeWorkerOptions, 'dataSource'>
>({
  optionsInjectionToken: OPTIONS,
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createFrameForgeWorkerOptions')
  .setExtras<{ dataSource?: string }>({ dataSource: undefined }, (definition, { dataSource }) => ({
    ...definition,
    imports: [
      ...(definition.imports ?? []),
      DiscoveryModule,
      ...(dataSource === undefined ? [] : [FrameForgeDatabaseModule.forFeature({ dataSource })]),
    ],
    providers: [
      ...(definition.providers ?? []),
      {
        provide: FrameForgeWorker,
        inject: [DiscoveryService, JobService, OPTIONS],
        useFactory: (
          discovery: DiscoveryService,
          jobs: JobService,
          options: FrameForgeWorkerOptions,
        ) => new FrameForgeWorker(discovery, jobs, resolveWorkerOptions(options)),
      },
    ],
    exports: [FrameForgeWorker],
  }))
  .build();

/**
 * Processes jobs and delivers notifications in this application: it finds the providers that are
 * decorated with `@VideoJobProcessor` and `@NotificationDeliverer`, and runs them from the
 * application's start to its end. Call `app.enableShutdownHooks()`, so that SIGTERM is an orderly end.
 */
@Module({})
export class FrameForgeWorkerModule extends ConfigurableModuleClass {
  /**
   * Works in the background with these options.
   *
   * @param options - see `FrameForgeWorkerOptions`; each has a default
   */
  static override forRoot(options: FrameForgeWorkerOptions = {}): DynamicModule {
    return super.forRoot(options);
  }

  /**
   * Works in the background with options that are made at boot, such as from a configuration service.
   *
   * @param options - `imports`, `inject` and `useFactory`, or `useClass` or `useExisting`; `dataSource`,
   *   the name of a data source, is given beside them
   */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return super.forRootAsync(options);
  }
}
