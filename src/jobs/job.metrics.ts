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
    // A bundle may have all of it in the default export; and webpack gives an empty module to those who
    // ask again for one that is not installed.
    const inner = (module as { default?: unknown }).default as OpenTelemetry | undefined;
    return [module, inner].find((api) => api?.metrics !== undefined);
  } catch (error) {
    // Node says ERR_MODULE_NOT_FOUND, Jest and bundlers say it without the ERR.
    if (String((error as { code?: unknown }).code).endsWith('MODULE_NOT_FOUND')) return undefined;
    throw error;
  }
}

const counted = new WeakMap<DataSource, Wanted<() => void>>();

/**
 * Counts the jobs that this process creates, as `frameforge.jobs.created`. Here and not in the worker,
 * because most services that create jobs have none. OpenTelemetry is looked for when there is something
 * to count: a boot does not wait for it. Several modules may ask for the same data source.
 *
 * @param warn - is told if it is there and cannot be loaded
 * @returns how to end that
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
