import { Injectable, Module, UnauthorizedException } from '@nestjs/common';
import type {
  CanActivate,
  ExecutionContext,
  INestApplication,
  LoggerService,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { FrameForgeConsoleModule } from '../../src/console/index.js';
import type { FrameForgeConsoleOptions } from '../../src/console/index.js';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';

export const ADAPTERS = ['express', 'fastify'] as const;
export type Adapter = (typeof ADAPTERS)[number];

/** Decides who may pass. It is a provider of the application. */
@Injectable()
export class Doorman {
  isOpen = true;
}

@Module({ providers: [Doorman], exports: [Doorman] })
class DoorModule {}

/** A guard: admits a request while the doorman admits it, and names the user. */
@Injectable()
export class AdminGuard implements CanActivate {
  constructor(private readonly doorman: Doorman) {}

  canActivate(context: ExecutionContext): boolean {
    if (!this.doorman.isOpen) throw new UnauthorizedException();
    context.switchToHttp().getRequest<{ user?: string }>().user = 'ann\n"the admin"';
    return true;
  }
}

/** Further parts of the application. */
export interface AppOptions {
  readonly prefix?: string;
  readonly logger?: LoggerService;
  readonly console?: FrameForgeConsoleOptions;
  readonly database?: FrameForgeDatabaseOptions;
  /** Whether a close waits for open connections. Default false. */
  readonly waits?: boolean;
  /** Default: a free port. */
  readonly port?: number;
  /** Changes the application before it listens. */
  readonly prepare?: (app: INestApplication) => void;
}

/** Boots an application with the console behind a guard, on a free port. */
export async function bootConsole(
  url: string,
  adapter: Adapter,
  options: AppOptions = {},
): Promise<{ app: INestApplication; url: string; doorman: Doorman }> {
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url, ...options.database }),
      FrameForgeConsoleModule.forRoot({
        imports: [DoorModule],
        guards: [AdminGuard],
        actions: true,
        actor: (request) => (request as { user: string }).user,
        ...options.console,
      }),
    ],
  })
  class App {}
  const app = await NestFactory.create(
    App,
    adapter === 'express' ? new ExpressAdapter() : (new FastifyAdapter() as never),
    {
      logger: options.logger ?? false,
      abortOnError: false,
      forceCloseConnections: options.waits !== true,
    },
  );
  if (options.prefix !== undefined) app.setGlobalPrefix(options.prefix);
  options.prepare?.(app);
  await app.listen(options.port ?? 0, '127.0.0.1');
  return { app, url: await app.getUrl(), doorman: app.get(Doorman, { strict: false }) };
}
