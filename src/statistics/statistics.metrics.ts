import type { BatchObservableResult, Observable } from '@opentelemetry/api';
import { findOpenTelemetry, INSTRUMENTATION } from '../jobs/job.metrics.js';
import type {
  BoundedCount,
  JobFigures,
  NotificationFigures,
  WorkerSeen,
} from './statistics.types.js';

/** The figures that are read each time the application's metrics are collected. */
export interface Figures {
  readonly jobs: JobFigures;
  readonly notifications: NotificationFigures;
  readonly workers: readonly WorkerSeen[];
}

/**
 * Reports figures as gauges of OpenTelemetry, if the application has it.
 *
 * @returns a function that ends the reports
 */
export async function observeFigures(read: () => Promise<Figures>): Promise<() => void> {
  const api = await findOpenTelemetry();
  if (api === undefined) return () => {};
  const meter = api.metrics.getMeter(INSTRUMENTATION);
  const gauge = (name: string, unit: string, description: string): Observable =>
    meter.createObservableGauge(`frameforge.${name}`, { unit, description });
  const jobs = gauge('jobs', '{job}', 'How many jobs have a status, up to 10,000.');
  const notifications = gauge(
    'notifications',
    '{notification}',
    'How many notifications have a status, up to 10,000.',
  );
  const lost = gauge('jobs.expired', '{job}', 'How many jobs have leases that are over.');
  const workers = gauge('workers', '{worker}', 'How many workers have reported of late.');
  const places = gauge('workers.places', '{place}', 'How many jobs all workers can run at once.');
  const running = gauge('workers.running', '{job}', 'How many jobs all workers ran of late.');
  const observe = async (result: BatchObservableResult): Promise<void> => {
    const figures = await read();
    const byStatus = (of: Observable, counts: Readonly<Record<string, BoundedCount>>): void => {
      for (const [status, { count }] of Object.entries(counts)) {
        result.observe(of, count, { status });
      }
    };
    byStatus(jobs, figures.jobs.counts);
    byStatus(notifications, figures.notifications.counts);
    result.observe(lost, figures.jobs.lost.count);
    result.observe(workers, figures.workers.length);
    result.observe(
      places,
      figures.workers.reduce((sum, worker) => sum + worker.places, 0),
    );
    result.observe(
      running,
      figures.workers.reduce((sum, worker) => sum + worker.running, 0),
    );
  };
  const all = [jobs, notifications, lost, workers, places, running];
  meter.addBatchObservableCallback(observe, all);
  return () => meter.removeBatchObservableCallback(observe, all);
}
