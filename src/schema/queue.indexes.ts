/** An index that the queues need, with the words of PostgreSQL's catalog. */
export interface QueueIndex {
  readonly name: string;
  readonly table: 'video_jobs' | 'notification_log';
  readonly unique: boolean;
  /** The columns, quoted where PostgreSQL quotes them. */
  readonly columns: string;
  /** The predicate of a partial index, as PostgreSQL stores it. */
  readonly where?: string;
}

/*
 * The predicates of the partial indexes, which are also the conditions of the queries that read them. Each query names
 * the predicate of its index. A plain comparison would say the same, and would let the planner choose another
 * index. If the last analysis saw an empty queue, the planner expects one row, and all indexes look equally good. It
 * then may read a whole backlog, and sort it. No other index fits a test such as IS TRUE. A table that had only a few
 * pages at the last analysis is read as a whole all the same, until the server analyzes it again.
 */
export const IS_PENDING = `((status)::text = 'pending'::text) IS TRUE`;
/** As {@link IS_PENDING}, in the index that begins with the user. */
export const IS_PENDING_OF_USER = `((status)::text <> 'pending'::text) IS FALSE`;
export const IS_LEASED = `(((status)::text = 'processing'::text) AND ("workerId" IS NOT NULL)) IS TRUE`;
export const IS_UNDELIVERED = `(("deliveryStatus")::text = 'pending'::text) IS TRUE`;

/** The indexes that the migration `AddQueueIndexes1700000006000` builds. `--online` builds them before it. */
export const QUEUE_INDEXES: readonly QueueIndex[] = [
  {
    name: 'idx_jobs_pending',
    table: 'video_jobs',
    unique: false,
    columns: '"availableAt"',
    where: IS_PENDING,
  },
  {
    name: 'idx_jobs_leased',
    table: 'video_jobs',
    unique: false,
    columns: '"availableAt"',
    where: IS_LEASED,
  },
  {
    name: 'idx_jobs_pending_user',
    table: 'video_jobs',
    unique: false,
    columns: '"userId", "availableAt"',
    where: IS_PENDING_OF_USER,
  },
  {
    name: 'idx_jobs_user_created_at',
    table: 'video_jobs',
    unique: false,
    columns: '"userId", "createdAt", "jobId"',
  },
  {
    name: 'idx_notifications_claimable',
    table: 'notification_log',
    unique: false,
    columns: '"availableAt"',
    where: IS_UNDELIVERED,
  },
  {
    name: 'uq_notifications_job_run',
    table: 'notification_log',
    unique: true,
    columns: '"jobId", "runNumber"',
  },
];

/** The definition of an index, in the words of `pg_get_indexdef` after the name of the table. */
export const definitionOf = ({ columns, where }: QueueIndex): string =>
  `USING btree (${columns})${where === undefined ? '' : ` WHERE (${where})`}`;
