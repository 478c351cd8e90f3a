import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { FrameForgeDatabaseModule } from '../database.module.js';
import { JobService } from '../jobs/job.service.js';
import { NotificationService } from '../notifications/notification.service.js';
import { JobStatistics } from '../statistics/job.statistics.js';
import { ConsoleActions } from './console.actions.js';
import { CONSOLE_OPTIONS, consoleController } from './console.controller.js';
import { ConsoleData } from './console.data.js';
import { resolveConsoleOptions } from './console.options.js';
import type { FrameForgeConsoleOptions } from './console.options.js';

/**
 * Adds the operator's pages to the application. They show the queues, and which jobs are stuck, since when, why and
 * whose they are. With `actions: true` an operator can try jobs again and cancel them. The pages work on Express and
 * Fastify, below a global prefix and behind a reverse proxy.
 *
 * @example FrameForgeConsoleModule.forRoot({ path: 'frameforge', guards: [AdminGuard] })
 */
@Module({})
export class FrameForgeConsoleModule {
  /**
   * @param options - see `FrameForgeConsoleOptions`; `guards` say who gets in
   * @throws ConfigurationError without guards, or if an option is wrong
   */
  static forRoot(options: FrameForgeConsoleOptions): DynamicModule {
    const resolved = resolveConsoleOptions(options);
    const { dataSource, imports, actions } = resolved;
    return {
      module: FrameForgeConsoleModule,
      imports: [
        ...imports,
        ...(dataSource === undefined ? [] : [FrameForgeDatabaseModule.forFeature({ dataSource })]),
      ],
      controllers: [consoleController(resolved)],
      providers: [
        { provide: CONSOLE_OPTIONS, useValue: resolved },
        {
          provide: ConsoleData,
          inject: [JobStatistics],
          useFactory: (statistics: JobStatistics) => new ConsoleData(statistics),
        },
        {
          provide: ConsoleActions,
          inject: [JobService, NotificationService],
          useFactory: (jobs: JobService, notifications: NotificationService) =>
            new ConsoleActions(jobs, notifications, actions),
        },
      ],
    };
  }
}
