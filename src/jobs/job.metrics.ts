import type { DataSource } from 'typeorm';
import { onQueueEvent } from './job.events.js';

/** The name under which this package reports metrics and traces. */
export const INSTRUMENTATION = '@frameforge/shared-types';

type OpenTelemetry = typeof import('@opentelemetry/api');

/** OpenTelemetry's API if the application has it: it is an optional peer. */
export async function findOpenTelemetry(): Promise<OpenTelemetry | undefined> {
  try {
    return await import('@opentelemetry/api');
  } catch (error) {
    // Node says ERR_MODULE_NOT_FOUND, Jest and bundlers say it without the ERR.
    if (String((error as { code?: unknown }).code).endsWith('MODULE_NOT_FOUND')) return undefined;
    throw error;
  }
}

/** The data sources whose jobs are counted: several modules may ask for the same one. */
const counted = new WeakSet<DataSource>();

/**
 * Counts the jobs that this process creates, as `frameforge.jobs.created`. Here and not in the worker,
 * because most services that create jobs have none.
 *
 * @returns how to end that
 */
export async function countCreatedJobs(dataSource: DataSource): Promise<() => void> {
  const api = await findOpenTelemetry();
  if (api === undefined || counted.has(dataSource)) return () => {};
  counted.add(dataSource);
  const counter = api.metrics.getMeter(INSTRUMENTATION).createCounter('frameforge.jobs.created', {
    unit: '{job}',
    description: 'Jobs that this process created.',
  });
  const end = onQueueEvent(dataSource, ({ queue, count, created }) => {
    if (queue === 'jobs' && created) counter.add(count);
  });
  return () => {
    counted.delete(dataSource);
    end();
  };
}
