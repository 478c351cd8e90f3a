import type { Logger } from '@nestjs/common';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { OutageWatch } from './outage.watch.js';
import type { Telemetry } from './telemetry.js';
import type { ResolvedWorkerOptions } from './worker.options.js';

/** The objects that both queues of a worker share. */
export interface QueueContext {
  readonly options: ResolvedWorkerOptions;
  readonly logger: Logger;
  readonly outage: OutageWatch;
  readonly telemetry: Telemetry;
  /** On the application's pool. */
  readonly db: SqlRunner;
  /** The options of the services. */
  readonly settings: {
    readonly preparedStatements: boolean;
    readonly replyTimeoutMs: number;
    readonly urlSchemes: readonly string[];
  };
}
