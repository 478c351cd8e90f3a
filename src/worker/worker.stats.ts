/** What a worker counts; each is an OpenTelemetry counter `frameforge.<name>`. */
export type Count =
  | 'jobs.created'
  | 'jobs.claimed'
  | 'jobs.completed'
  | 'jobs.retried'
  | 'jobs.failed'
  | 'jobs.lost'
  | 'jobs.released'
  | 'jobs.cancelled'
  | 'deliveries.claimed'
  | 'deliveries.sent'
  | 'deliveries.retried'
  | 'deliveries.failed'
  | 'deliveries.lost';

/** How many handlers of each kind. */
export interface Handlers {
  /** Handlers of jobs. */
  readonly jobs: number;
  /** Handlers of notifications. */
  readonly deliveries: number;
}

/** What a worker is doing, and has done since it started. */
export interface WorkerStats {
  /** How many handlers run. */
  readonly running: Handlers;
  /** Handlers that go on although their leases have ended. */
  readonly hanging: Handlers;
  /** How often each event has happened since the worker started. */
  readonly counts: Readonly<Record<Count, number>>;
  /** Whether claims succeed. */
  readonly database: 'up' | 'down';
}
