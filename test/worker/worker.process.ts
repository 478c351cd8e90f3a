import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import type { CreateJobInput } from '../../src/jobs/job.inputs.js';
import type { FrameForgeWorkerOptions, WorkerStats } from '../../src/worker/index.js';

/** The settings of the service of worker.fixture.ts. */
export interface WorkerConfig {
  readonly url: string;
  /** Further options of FrameForgeDatabaseModule. */
  readonly database?: FrameForgeDatabaseOptions;
  readonly worker?: FrameForgeWorkerOptions;
  /** Jobs at once; 4 if left out. */
  readonly concurrency?: number;
  /** Deliveries at once; 2 if left out. */
  readonly deliverers?: number;
  /** Whether it processes jobs; else it only delivers. */
  readonly processes?: boolean;
  /** The address to which notifications are posted. If left out, none are posted. */
  readonly provider?: string;
  /** A package that the process must see as not installed. */
  readonly without?: string;
}

/** A message of the process, with its time in ms. */
export type WorkerEvent = { readonly at: number } & (
  | { readonly type: 'ready'; readonly workerId: string }
  | { readonly type: 'started'; readonly jobId: string; readonly runNumber: number }
  | { readonly type: 'ended'; readonly jobId: string; readonly runNumber: number }
  | {
      readonly type: 'aborted';
      readonly jobId: string;
      readonly runNumber: number;
      readonly reason: string;
    }
  | { readonly type: 'delivering'; readonly notificationId: string; readonly attempt: number }
  | { readonly type: 'log'; readonly level: string; readonly text: string }
  | { readonly type: 'stats'; readonly stats: WorkerStats }
  | { readonly type: 'exit' }
);

/** A request to the process. */
export type WorkerRequest =
  | { readonly type: 'create'; readonly jobs: readonly CreateJobInput[] }
  | { readonly type: 'cancel'; readonly jobId: string }
  | { readonly type: 'block'; readonly ms: number }
  | { readonly type: 'stats' };

type EventOf<T extends WorkerEvent['type']> = Extract<WorkerEvent, { type: T }>;

const fileOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const inline = (script: string): string => `data:text/javascript,${encodeURIComponent(script)}`;

/** A module for `node --import` that makes a package look as if it were not installed. */
function hiding(name: string): string {
  const hook = `export function resolve(specifier, context, next) {
    if (specifier !== ${JSON.stringify(name)}) return next(specifier, context);
    throw Object.assign(new Error('hidden'), { code: 'ERR_MODULE_NOT_FOUND' });
  }`;
  return inline(
    `import * as nodeModule from 'node:module';
    ${hook}
    // In this thread where Node can: the other way is deprecated from Node 26 on.
    if (nodeModule.registerHooks !== undefined) nodeModule.registerHooks({ resolve });
    else nodeModule.register(${JSON.stringify(inline(hook))});`,
  );
}

/** A service with a worker, as a process of its own. */
export class WorkerProcess {
  readonly events: WorkerEvent[] = [];
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  private readonly child: ChildProcess;
  private readonly waiting = new Set<() => void>();

  constructor(config: WorkerConfig) {
    this.child = fork(fileOf('./worker.fixture.ts'), {
      execArgv: [
        '--import',
        fileOf('../support/typescript.mjs'),
        ...(config.without === undefined ? [] : ['--import', hiding(config.without)]),
      ],
      env: { ...process.env, NODE_OPTIONS: '', WORKER_FIXTURE: JSON.stringify(config) },
    });
    this.child.on('message', (event: WorkerEvent) => {
      this.events.push(event);
      for (const look of this.waiting) look();
    });
    this.exit = once(this.child, 'exit').then(([code, signal]: unknown[]) => {
      for (const look of this.waiting) look();
      return { code: code as number | null, signal: signal as NodeJS.Signals | null };
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  ask(request: WorkerRequest): void {
    this.child.send(request);
  }

  async stats(): Promise<WorkerStats> {
    const asked = this.all('stats').length;
    this.ask({ type: 'stats' });
    return (await this.next('stats', (event) => this.all('stats').indexOf(event) >= asked)).stats;
  }

  /** The start of a run of the job in this process. */
  started({ jobId }: { jobId: string }): Promise<EventOf<'started'>> {
    return this.next('started', (event) => event.jobId === jobId);
  }

  /** All messages of one type. */
  all<T extends WorkerEvent['type']>(type: T): EventOf<T>[] {
    return this.events.filter((event): event is EventOf<T> => event.type === type);
  }

  /** All log lines of a level. */
  logged(level: string): string[] {
    return this.all('log')
      .filter((event) => event.level === level)
      .map(({ text }) => text);
  }

  /** The first event of a type that fulfils the condition, as soon as there is one. */
  next<T extends WorkerEvent['type']>(
    type: T,
    is: (event: EventOf<T>) => boolean = () => true,
  ): Promise<EventOf<T>> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = this.all(type).find(is);
        if (found === undefined && !this.hasEnded) return;
        this.waiting.delete(look);
        if (found !== undefined) resolve(found);
        else
          reject(new Error(`The worker ended without "${type}": ${JSON.stringify(this.events)}`));
      };
      this.waiting.add(look);
      look();
    });
  }
}
