import { setTimeout as sleep } from 'node:timers/promises';
import {
  BadRequestException,
  Body,
  Controller,
  ForbiddenException,
  Get,
  Header,
  HttpStatus,
  Inject,
  Logger,
  NotFoundException,
  Param,
  Post,
  Query,
  Req,
  Res,
  Sse,
  UseGuards,
} from '@nestjs/common';
import type { MessageEvent, OnModuleDestroy, Type } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Observable } from 'rxjs';
import { FrameForgeError } from '../errors.js';
import { FRAMEFORGE_HTTP_STATUS } from '../http/frameforge-exception.filter.js';
import { ConsoleActions, MAX_AT_ONCE } from './console.actions.js';
import type { ActionName } from './console.actions.js';
import { ConsoleData } from './console.data.js';
import type { Query as PageQuery, Shown } from './console.data.js';
import { baseOf, PAGE_HEADERS, pageHtml, readConsoleFiles } from './console.files.js';
import type { ResolvedConsoleOptions } from './console.options.js';
import { LiveReads } from './live.reads.js';
import type { Look } from './live.reads.js';
import { isSameOrigin } from './same.origin.js';

/** The token of the resolved options. */
export const CONSOLE_OPTIONS = Symbol('FrameForgeConsoleOptions');

/** The parts that requests of Express and Fastify have in common. */
interface HttpRequest {
  readonly originalUrl?: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** How long it takes until a connection is idle after the end of its answer, in ms. */
const IDLE_MS = 50;
const PAGES: ReadonlySet<string> = new Set(['overview', 'jobs', 'notifications']);
const ACTIONS: ReadonlySet<string> = new Set<ActionName>(['retry', 'cancel', 'redeliver']);
/** A file's address changes with its content. */
const FOR_LONG = 'private, max-age=31536000, immutable';

/**
 * Serves the pages, their files and their data. It sends each answer through the HTTP adapter, so that no
 * interceptor of the application changes its form. Guards, interceptors and the global prefix apply as for any
 * controller.
 */
class ConsoleController implements OnModuleDestroy {
  private readonly files = readConsoleFiles();
  private readonly live = new LiveReads();
  private readonly logger = new Logger('FrameForgeConsole');
  private outage: string | undefined;

  constructor(
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(ConsoleData) private readonly data: ConsoleData,
    @Inject(ConsoleActions) private readonly actions: ConsoleActions,
    @Inject(CONSOLE_OPTIONS) private readonly options: ResolvedConsoleOptions,
  ) {}

  @Get()
  first(@Req() request: HttpRequest, @Res() response: unknown): void {
    this.sendPage(request, response, 0);
  }

  @Get(':page')
  page(@Param('page') page: string, @Req() request: HttpRequest, @Res() response: unknown): void {
    if (!PAGES.has(page)) throw new NotFoundException();
    this.sendPage(request, response, 1);
  }

  @Get('jobs/:jobId')
  jobPage(@Req() request: HttpRequest, @Res() response: unknown): void {
    this.sendPage(request, response, 2);
  }

  @Get('assets/:name')
  file(@Param('name') name: string, @Res() response: unknown): void {
    const file = this.files.get(name);
    if (file === undefined) throw new NotFoundException();
    this.send(response, 200, file.text, { 'content-type': file.type, 'cache-control': FOR_LONG });
  }

  @Get('api/settings')
  settings(@Res() response: unknown): Promise<void> {
    const data = { actions: this.actions.names };
    return this.answer(response, async () => ({ at: new Date(), data }));
  }

  @Get('api/schema')
  schema(@Res() response: unknown): Promise<void> {
    return this.show(response, this.data.schema());
  }

  @Get('api/overview')
  overview(@Res() response: unknown): Promise<void> {
    return this.show(response, this.data.overview());
  }

  @Sse('api/live/overview')
  @Header('x-content-type-options', 'nosniff')
  liveOverview(): Observable<MessageEvent> {
    return this.watch(this.data.overview());
  }

  @Get('api/jobs')
  jobs(@Query() query: PageQuery, @Res() response: unknown): Promise<void> {
    return this.show(response, this.data.jobs(query));
  }

  @Sse('api/live/jobs')
  @Header('x-content-type-options', 'nosniff')
  liveJobs(@Query() query: PageQuery): Observable<MessageEvent> {
    return this.watch(this.data.jobs(query));
  }

  @Get('api/jobs/:jobId')
  job(@Param('jobId') jobId: string, @Res() response: unknown): Promise<void> {
    return this.show(response, this.data.job(jobId));
  }

  @Sse('api/live/jobs/:jobId')
  @Header('x-content-type-options', 'nosniff')
  liveJob(@Param('jobId') jobId: string): Observable<MessageEvent> {
    return this.watch(this.data.job(jobId));
  }

  @Get('api/notifications')
  notifications(@Query() query: PageQuery, @Res() response: unknown): Promise<void> {
    return this.show(response, this.data.notifications(query));
  }

  @Sse('api/live/notifications')
  @Header('x-content-type-options', 'nosniff')
  liveNotifications(@Query() query: PageQuery): Observable<MessageEvent> {
    return this.watch(this.data.notifications(query));
  }

  @Post('api/actions/:action')
  async act(
    @Param('action') action: string,
    @Body() body: unknown,
    @Req() request: HttpRequest,
    @Res() response: unknown,
  ): Promise<void> {
    if (!isSameOrigin(request.headers)) {
      throw new ForbiddenException('Actions are taken on the pages of the console alone.');
    }
    if (!isAction(action)) throw new NotFoundException();
    const { matching, dryRun } = (body ?? {}) as { matching?: PageQuery; dryRun?: unknown };
    if (matching === null) throw new BadRequestException('matching must be an object');
    const ids = matching === undefined ? idsOf(body) : [];
    return this.answer(response, async () => {
      try {
        const actor = this.options.actor(request);
        if (matching !== undefined) {
          const filter = await this.data.matching(matching);
          return await this.actions.actOnAll(action, filter, dryRun !== false, actor);
        }
        return { results: await this.actions.act(action, ids, actor) };
      } finally {
        this.data.changed();
        this.live.changed();
      }
    });
  }

  /** Ends the streams, because the server then closes idle connections and waits for all others. */
  async onModuleDestroy(): Promise<void> {
    const hasStreams = this.live.size > 0;
    this.live.close();
    // A connection becomes idle a moment after its answer has ended.
    if (hasStreams) await sleep(IDLE_MS);
  }

  private sendPage(request: HttpRequest, response: unknown, depth: number): void {
    const last = this.options.path.split('/').at(-1) ?? '';
    const base = baseOf(request.originalUrl ?? request.url, depth, last);
    const headers = { ...PAGE_HEADERS, 'content-type': 'text/html; charset=utf-8' };
    this.send(response, 200, pageHtml(this.files, base), headers);
  }

  private show(response: unknown, shown: Shown): Promise<void> {
    return this.answer(response, () => this.data.get(shown));
  }

  private watch(shown: Shown): Observable<MessageEvent> {
    return this.live.watch(shown.key, shown.everyMs, async (): Promise<Look> => {
      const begin = new Date();
      try {
        const { at, data } = await this.data.get(shown);
        this.outage = undefined;
        return { type: 'data', at, text: JSON.stringify(data) };
      } catch (error) {
        return { type: 'failed', at: begin, text: JSON.stringify(this.refusalOf(error)) };
      }
    });
  }

  /** Answers the errors of this package here, so that the pages can show them whatever filters the application has. */
  private async answer(response: unknown, read: () => Promise<unknown>): Promise<void> {
    try {
      const value = await read();
      this.outage = undefined;
      this.send(response, 200, value);
    } catch (error) {
      if (!(error instanceof FrameForgeError)) throw error;
      const refusal = this.refusalOf(error);
      this.send(response, refusal.statusCode, refusal);
    }
  }

  /** The answer to an error. An error that the reader did not cause is also logged, once for all tries of a page. */
  private refusalOf(error: unknown): { statusCode: number; code: string; message: string } {
    const isKnown = error instanceof FrameForgeError;
    const statusCode = isKnown ? FRAMEFORGE_HTTP_STATUS[error.code] : 500;
    const code = isKnown ? error.code : 'UNKNOWN';
    const said = error instanceof Error ? error.message : String(error);
    if (statusCode < 500) return { statusCode, code, message: said };
    if (this.outage !== said) this.logger.error(said, (error as Error).stack);
    this.outage = said;
    return { statusCode, code, message: 'See the log of the application.' };
  }

  private send(
    response: unknown,
    status: HttpStatus,
    body: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    const { httpAdapter } = this.host;
    const all = {
      'cache-control': 'private, no-store',
      'x-content-type-options': 'nosniff',
      ...headers,
    };
    for (const [name, value] of Object.entries(all)) httpAdapter.setHeader(response, name, value);
    httpAdapter.reply(response, body, status);
  }
}

const isAction = (name: string): name is ActionName => ACTIONS.has(name);

function idsOf(body: unknown): string[] {
  const { ids } = (body ?? {}) as { ids?: unknown };
  const isList = Array.isArray(ids) && ids.every((id) => typeof id === 'string');
  if (!isList || ids.length === 0 || ids.length > MAX_AT_ONCE) {
    throw new BadRequestException(`ids must be an array of 1 to ${MAX_AT_ONCE} ids`);
  }
  return ids;
}

/** The controller at a path, behind guards. */
export function consoleController({ path, version, guards }: ResolvedConsoleOptions): Type {
  @Controller({ path, version })
  @UseGuards(...guards)
  class FrameForgeConsoleController extends ConsoleController {}
  return FrameForgeConsoleController;
}
