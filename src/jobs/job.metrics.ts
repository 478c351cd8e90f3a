import type { DataSource } from 'typeorm';
import { onQueueEvent } from './job.events.js';
import { whileWanted } from './while-wanted.js';
import type { Wanted } from './while-wanted.js';

/** The name under which this package reports metrics and traces. */
export const INSTRUMENTATION = '@frameforge/shared-types';

type OpenTelemetry = typeof import('@opentelemetry/api');

/** OpenTelemetry's API, if the application has installed this optional peer dependency. */
export async function findOpenTelemetry(): Promise<OpenTelemetry | undefined> {
  try {
    const module = await import('@opentelemetry/api');
    // In a bundle, all of the API may be in the default export. If the module is not installed, webpack gives
    // an empty module on the second import.
    const inner = (module as { default?: unknown }).default as OpenTelemetry | undefined;
    return [module, inner].find((api) => api?.metrics !== undefined);
  } catch (error) {
    // Node's code is ERR_MODULE_NOT_FOUND. Jest and bundlers use MODULE_NOT_FOUND.
    if (String((error as { code?: unknown }).code).endsWith('MODULE_NOT_FOUND')) return undefined;
    throw error;
  }
}

const counted = new WeakMap<DataSource, Wanted<() => void>>();

/**
 * Counts the jobs that this process creates, as `frameforge.jobs.created`. The worker does not count them,
 * because most services that create jobs have no worker. OpenTelemetry is loaded when the first job is
 * created, so the start of the application does not wait for it. Several modules may ask for one data source.
 *
 * @param warn - is called if OpenTelemetry is installed and cannot be loaded
 * @returns a function that ends the counting
 */
export function countCreatedJobs(
  dataSource: DataSource,
  warn: (error: unknown) => void,
): () => void {
  const start = (): (() => void) => {
    let created: Promise<(count: number) => void> | undefined;
    return onQueueEvent(dataSource, (event) => {
      if (event.queue !== 'jobs' || !event.created) return;
      created ??= createdCounter().catch((error: unknown) => {
        warn(error);
        return () => {};
      });
      void created.then((add) => add(event.count));
    });
  };
  return whileWanted(counted, dataSource, start, (end) => end()).end;
}

async function createdCounter(): Promise<(count: number) => void> {
  const api = await findOpenTelemetry();
  const counter = api?.metrics.getMeter(INSTRUMENTATION).createCounter('frameforge.jobs.created', {
    unit: '{job}',
    description: 'Jobs that this process created.',
  });
  return (count) => counter?.add(count);
}
