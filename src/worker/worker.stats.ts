/** What a worker counts; each is an OpenTelemetry counter `frameforge.<name>`. */
export type Count =
  | 'jobs.created'
  | 'jobs.claimed'
  | 'jobs.completed'
  | 'jobs.retried'
  | 'jobs.failed'
  | 'jobs.lost'
  | 'jobs.released'
  | 'deliveries.claimed'
  | 'deliveries.sent'
  | 'deliveries.retried'
  | 'deliveries.failed'
  | 'deliveries.lost';

/** What a worker is doing, and has done since it started. */
export interface WorkerStats {
  readonly running: { readonly jobs: number; readonly deliveries: number };
  /** Handlers that go on although their leases have ended: one of a job keeps its place, no other does. */
  readonly hanging: { readonly jobs: number; readonly deliveries: number };
  readonly counts: Readonly<Record<Count, number>>;
  /** Whether claims succeed. */
  readonly database: 'up' | 'down';
}
