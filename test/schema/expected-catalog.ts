import type { Catalog } from './catalog.js';

/** What one migration adds to the catalog. */
interface Addition {
  readonly tables?: readonly string[];
  readonly columns: readonly string[];
  readonly constraints: readonly string[];
  /** Constraints that are not validated yet. */
  readonly unvalidated?: readonly string[];
  /** Whether it validates the constraints of the migrations before it. */
  readonly validates?: boolean;
  readonly indexes: readonly string[];
  readonly others?: readonly string[];
}

const TIME = 'timestamp(3) with time zone';
const NOW = `${TIME} NOT NULL DEFAULT now()`;
const ID = 'uuid NOT NULL DEFAULT gen_random_uuid()';
const PENDING = `character varying(20) NOT NULL DEFAULT 'pending'::character varying`;
const SUM = 'double precision NOT NULL DEFAULT 0';
const HISTOGRAM = `integer[] NOT NULL DEFAULT '{}'::integer[]`;
const COUNTER = 'integer NOT NULL DEFAULT 0';
const AVAILABLE = `${TIME} NOT NULL DEFAULT date_trunc('milliseconds'::text, statement_timestamp())`;

const isOneOf = (column: string, values: readonly string[]): string =>
  `CHECK (((${column})::text = ANY ((ARRAY[` +
  `${values.map((value) => `'${value}'::character varying`).join(', ')}])::text[])))`;

const index = (name: string, on: string): string => `CREATE INDEX ${name} ON ${on}`;

/** The schema as PostgreSQL writes it, with one entry for each migration. */
const ADDITIONS: readonly Addition[] = [
  {
    tables: ['users'],
    columns: [
      `users.userId ${ID}`,
      'users.username character varying(50) NOT NULL',
      'users.email character varying(255) NOT NULL',
      'users.passwordHash character varying(255) NOT NULL',
      `users.createdAt ${NOW}`,
      `users.updatedAt ${NOW}`,
    ],
    constraints: [
      'users.pk_users PRIMARY KEY ("userId")',
      'users.uq_users_email UNIQUE (email)',
      'users.uq_users_username UNIQUE (username)',
    ],
    indexes: [
      index('idx_users_email', 'users USING btree (email)'),
      index('idx_users_username', 'users USING btree (username)'),
    ],
  },
  {
    tables: ['video_jobs'],
    columns: [
      `video_jobs.jobId ${ID}`,
      'video_jobs.userId uuid NOT NULL',
      'video_jobs.filename character varying(255) NOT NULL',
      `video_jobs.status ${PENDING}`,
      'video_jobs.videoUrl text NOT NULL',
      'video_jobs.resultUrl text',
      'video_jobs.frameCount integer',
      'video_jobs.errorMessage text',
      `video_jobs.createdAt ${NOW}`,
      `video_jobs.startedAt ${TIME}`,
      `video_jobs.completedAt ${TIME}`,
    ],
    constraints: [
      'video_jobs.chk_jobs_status ' +
        isOneOf('status', ['pending', 'processing', 'completed', 'failed']),
      'video_jobs.fk_video_jobs_user FOREIGN KEY ("userId") ' +
        'REFERENCES users("userId") ON DELETE CASCADE',
      'video_jobs.pk_video_jobs PRIMARY KEY ("jobId")',
    ],
    indexes: [
      index('idx_jobs_created_at', 'video_jobs USING btree ("createdAt")'),
      index('idx_jobs_status', 'video_jobs USING btree (status)'),
      index('idx_jobs_user_id', 'video_jobs USING btree ("userId")'),
      index('idx_jobs_user_status', 'video_jobs USING btree ("userId", status)'),
    ],
  },
  {
    tables: ['notification_log'],
    columns: [
      `notification_log.notificationId ${ID}`,
      'notification_log.jobId uuid NOT NULL',
      'notification_log.notificationType character varying(20) NOT NULL',
      'notification_log.recipientEmail character varying(255) NOT NULL',
      `notification_log.deliveryStatus ${PENDING}`,
      `notification_log.retryCount ${COUNTER}`,
      'notification_log.errorMessage text',
      `notification_log.createdAt ${NOW}`,
      `notification_log.sentAt ${TIME}`,
    ],
    constraints: [
      'notification_log.chk_notifications_delivery_status ' +
        isOneOf('"deliveryStatus"', ['pending', 'sent', 'failed']),
      'notification_log.chk_notifications_type ' +
        isOneOf('"notificationType"', ['success', 'failure']),
      'notification_log.fk_notification_log_job FOREIGN KEY ("jobId") ' +
        'REFERENCES video_jobs("jobId") ON DELETE CASCADE',
      'notification_log.pk_notification_log PRIMARY KEY ("notificationId")',
    ],
    indexes: [
      index('idx_notifications_job_id', 'notification_log USING btree ("jobId")'),
      index('idx_notifications_status', 'notification_log USING btree ("deliveryStatus")'),
    ],
  },
  {
    columns: [
      `video_jobs.availableAt ${AVAILABLE}`,
      `video_jobs.runNumber ${COUNTER}`,
      'video_jobs.workerId character varying(255)',
      `video_jobs.attempts ${COUNTER}`,
      'video_jobs.progress smallint',
      'video_jobs.progressMessage character varying(255)',
      `video_jobs.cancelledAt ${TIME}`,
      'video_jobs.parameters jsonb',
      'video_jobs.output jsonb',
      `notification_log.availableAt ${AVAILABLE}`,
      `notification_log.deliveryNumber ${COUNTER}`,
      'notification_log.runNumber integer',
    ],
    constraints: [],
    // These constraints stay unvalidated until the migration that builds the indexes.
    unvalidated: [
      `video_jobs.chk_jobs_cancelled CHECK ((("cancelledAt" IS NULL) OR ((status)::text = 'failed'::text)))`,
      'video_jobs.chk_jobs_output_size CHECK ((octet_length((output)::text) <= 65536))',
      'video_jobs.chk_jobs_parameters_size CHECK ((octet_length((parameters)::text) <= 65536))',
      'video_jobs.chk_jobs_progress CHECK (((progress >= 0) AND (progress <= 100)))',
    ],
    indexes: [],
    others: [
      'function frameforge_refuse_update',
      'function frameforge_set_queue_columns',
      'trigger trg_jobs_refuse_smaller_run',
      'trigger trg_jobs_refuse_uncompleting',
      'trigger trg_jobs_set_queue_columns',
      'trigger trg_notifications_refuse_smaller_delivery',
      'trigger trg_notifications_refuse_unsending',
    ],
  },
  {
    tables: ['job_attempt_errors', 'processing_state', 'worker_reports'],
    columns: [
      'job_attempt_errors.jobId uuid NOT NULL',
      'job_attempt_errors.runNumber integer NOT NULL',
      'job_attempt_errors.workerId character varying(255)',
      'job_attempt_errors.errorMessage text NOT NULL',
      `job_attempt_errors.createdAt ${NOW}`,
      'processing_state.onlyRow boolean NOT NULL DEFAULT true',
      `processing_state.pausedAt ${TIME}`,
      'processing_state.reason text',
      'worker_reports.workerId character varying(255) NOT NULL',
      `worker_reports.minute ${TIME} NOT NULL`,
      `worker_reports.startedAt ${TIME} NOT NULL`,
      'worker_reports.places integer NOT NULL',
      'worker_reports.running integer NOT NULL',
      `worker_reports.completed ${COUNTER}`,
      `worker_reports.failed ${COUNTER}`,
      `worker_reports.retried ${COUNTER}`,
      `worker_reports.delivered ${COUNTER}`,
      `worker_reports.undelivered ${COUNTER}`,
      `worker_reports.waitedMs ${SUM}`,
      `worker_reports.waitedHistogram ${HISTOGRAM}`,
      `worker_reports.ranMs ${SUM}`,
      `worker_reports.ranHistogram ${HISTOGRAM}`,
    ],
    constraints: [
      'job_attempt_errors.fk_job_attempt_errors_job FOREIGN KEY ("jobId") ' +
        'REFERENCES video_jobs("jobId") ON DELETE CASCADE',
      'job_attempt_errors.pk_job_attempt_errors PRIMARY KEY ("jobId", "runNumber")',
      'processing_state.chk_processing_state_only_row CHECK ("onlyRow")',
      'processing_state.pk_processing_state PRIMARY KEY ("onlyRow")',
      'worker_reports.pk_worker_reports PRIMARY KEY ("workerId", minute)',
    ],
    indexes: [index('idx_worker_reports_minute', 'worker_reports USING btree (minute)')],
  },
  {
    columns: [],
    constraints: [],
    validates: true,
    indexes: [
      index(
        'idx_jobs_leased',
        `video_jobs USING btree ("availableAt") ` +
          `WHERE ((((status)::text = 'processing'::text) AND ("workerId" IS NOT NULL)) IS TRUE)`,
      ),
      index(
        'idx_jobs_pending',
        `video_jobs USING btree ("availableAt") WHERE (((status)::text = 'pending'::text) IS TRUE)`,
      ),
      index(
        'idx_jobs_pending_user',
        `video_jobs USING btree ("userId", "availableAt") WHERE (((status)::text <> 'pending'::text) IS FALSE)`,
      ),
      index('idx_jobs_user_created_at', 'video_jobs USING btree ("userId", "createdAt", "jobId")'),
      index(
        'idx_notifications_claimable',
        `notification_log USING btree ("availableAt") ` +
          `WHERE ((("deliveryStatus")::text = 'pending'::text) IS TRUE)`,
      ),
      index(
        'uq_notifications_job_run',
        'notification_log USING btree ("jobId", "runNumber")',
      ).replace('INDEX', 'UNIQUE INDEX'),
    ],
  },
];

const by =
  (pattern: RegExp) =>
  (a: string, b: string): number => {
    const [left, right] = [pattern.exec(a)?.[1] ?? '', pattern.exec(b)?.[1] ?? ''];
    return left < right ? -1 : Number(left > right);
  };

/** The catalog after the first `count` migrations, with nothing else in it. */
export function expectedCatalog(count = ADDITIONS.length): Catalog {
  const additions = ADDITIONS.slice(0, count);
  const validated = additions.some(({ validates }) => validates === true);
  const constraints = additions.flatMap((addition) => [
    ...addition.constraints,
    ...(addition.unvalidated ?? []).map((line) => (validated ? line : `${line} NOT VALID`)),
  ]);
  const indexes = additions.flatMap((addition) => addition.indexes);
  const nameOfConstraint = /^\w+\.(\w+) (?:PRIMARY KEY|UNIQUE)/;
  const nameOfIndex = /^CREATE (?:UNIQUE )?INDEX (\w+)/;
  return {
    relations: [
      ...additions.flatMap(({ tables = [] }) => tables.map((table) => `table ${table}`)),
      ...constraints.flatMap((line) => nameOfConstraint.exec(line)?.slice(1) ?? []).map(indexLine),
      ...indexes.flatMap((line) => nameOfIndex.exec(line)?.slice(1) ?? []).map(indexLine),
    ].toSorted(by(/ (\w+)/)),
    columns: additions.flatMap((addition) => addition.columns).toSorted(by(/^(\w+)\./)),
    constraints: constraints.toSorted(by(/^(\w+\.\w+)/)),
    indexes: indexes.toSorted(by(nameOfIndex)),
    others: additions.flatMap(({ others = [] }) => others).toSorted(),
  };
}

const indexLine = (name: string): string => `index ${name}`;
