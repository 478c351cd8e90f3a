import type { DataSource, EntitySubscriberInterface, QueryRunner, UpdateEvent } from 'typeorm';
import { StaleEntityError } from '../errors.js';
import { subscribe } from '../peers/typeorm.internals.js';
import { NotificationLog, VideoJob } from '../schema/entities/index.js';

// `save()` writes all that differs between the entity and its row, so an entity that was read long ago writes an
// old state back. The database cannot refuse that: a service that knows only the first three tables sends the same
// UPDATE when it starts a job or tries it again. Here, where the entity is saved, the two differ: what is saved
// is an entity of this package.

type Row = Record<string, unknown>;

/** What must not go back when an old entity is saved. */
interface Rules<Entity extends object = object> {
  readonly target: new () => Entity;
  readonly id: string;
  /** The status, and what else the run of a job or the delivery of a notification writes. */
  readonly written: readonly [status: string, ...others: string[]];
  /** What tells a run or a delivery from those before and after it. */
  readonly token: readonly string[];
  /** The part of the token that the database clears when a save ends a run. */
  readonly holder?: string;
  /** Whether a save may change the status. `isOfNow`: the entity is not older than the run or the delivery. */
  readonly mayMove: (from: unknown, to: unknown, isOfNow: boolean) => boolean;
  refusal(now: Entity, saved: Partial<Entity>): StaleEntityError;
}

const JOBS: Rules<VideoJob> = {
  target: VideoJob,
  id: 'jobId',
  written: ['status', 'startedAt', 'completedAt', 'resultUrl', 'frameCount', 'errorMessage'],
  token: ['runNumber', 'workerId', 'attempts'],
  holder: 'workerId',
  mayMove: (from) => from === 'processing',
  refusal({ jobId, status, runNumber }, saved) {
    const row = { jobId, status, runNumber };
    return new StaleEntityError(row, saved.status ?? status, saved.runNumber);
  },
};

const NOTIFICATIONS: Rules<NotificationLog> = {
  target: NotificationLog,
  id: 'notificationId',
  written: ['deliveryStatus', 'retryCount', 'errorMessage', 'sentAt'],
  token: ['deliveryNumber'],
  // What was sent may fail: the provider tells later that it has come back. What waits may have been sent by
  // somebody who has not claimed it. No old entity says `sent` of what waits: `sent` never becomes `pending`.
  mayMove: (from, to, isOfNow) =>
    to !== 'pending' && (isOfNow || (from === 'pending' && to === 'sent')),
  refusal({ notificationId, deliveryStatus: status, deliveryNumber }, saved) {
    const row = { notificationId, status, deliveryNumber };
    return new StaleEntityError(row, saved.deliveryStatus ?? status, saved.deliveryNumber);
  },
};

/**
 * Refuses a `save()` that would write an old state over a newer one. It may end a run or a delivery. It may change
 * what belongs to a run if the entity was read in that run, or names none.
 */
class StaleSaves implements EntitySubscriberInterface {
  /**
   * @param checks - the checks of each query runner, of both entities, one after another: a connection runs one
   *   statement at a time
   */
  constructor(
    private readonly rules: Rules,
    private readonly checks: WeakMap<QueryRunner, Promise<void>>,
  ) {}

  listenTo(): Rules['target'] {
    return this.rules.target;
  }

  /** `databaseEntity` is what `save()` has read. Updates that read no row have none, and say what they mean. */
  beforeUpdate(event: UpdateEvent<object>): Promise<void> | undefined {
    const { databaseEntity, updatedColumns, queryRunner } = event as typeof event & {
      databaseEntity?: object;
    };
    if (databaseEntity === undefined) return undefined;
    if (!updatedColumns.some(({ propertyName }) => this.rules.written.includes(propertyName))) {
      return undefined;
    }
    const check = (this.checks.get(queryRunner) ?? Promise.resolve()).then(() => this.check(event));
    this.checks.set(queryRunner, check);
    const forget = (): void => {
      if (this.checks.get(queryRunner) === check) this.checks.delete(queryRunner);
    };
    check.then(forget, forget);
    return check;
  }

  /** Who has ended a run by a save may save the same entity again: it gets what the database has made of it. */
  afterUpdate({ entity, updatedColumns }: UpdateEvent<object>): void {
    const { holder, written } = this.rules;
    if (holder === undefined || (entity as Row | undefined)?.[holder] === undefined) return;
    if (updatedColumns.some(({ propertyName }) => propertyName === written[0])) {
      (entity as Row)[holder] = null;
    }
  }

  private async check(event: UpdateEvent<object>): Promise<void> {
    const { token, written, mayMove, refusal } = this.rules;
    const entity = event.entity as Row;
    const now = await this.lockedRow(event);
    const isOfNow = token.every((name) => entity[name] === undefined || entity[name] === now[name]);
    const from = now[written[0]];
    const to = entity[written[0]] ?? from;
    if (from === to ? isOfNow : mayMove(from, to, isOfNow)) return;
    throw refusal(now, entity);
  }

  /** The row as it is now. It is locked until the save has written: what `save()` has read may be over. */
  private async lockedRow({
    databaseEntity,
    manager,
    queryRunner,
  }: UpdateEvent<object>): Promise<Row> {
    const read = databaseEntity as Row;
    if (!queryRunner.isTransactionActive) return read;
    const { target, id } = this.rules;
    const locked = await manager.getRepository<object>(target).findOne({
      where: { [id]: read[id] },
      lock: { mode: 'for_no_key_update' },
      loadEagerRelations: false,
      cache: false,
    });
    return (locked as Row | null) ?? read;
  }
}

/**
 * Makes a data source refuse to save entities of this package that are older than what happened since. It does
 * so once, however many modules use the data source.
 *
 * @param dataSource - it is initialized: TypeORM makes the list of subscribers anew when it initializes
 */
export function refuseStaleSaves(dataSource: DataSource): void {
  if (dataSource.subscribers.some((subscriber) => subscriber instanceof StaleSaves)) return;
  const checks = new WeakMap<QueryRunner, Promise<void>>();
  for (const rules of [JOBS, NOTIFICATIONS]) subscribe(dataSource, new StaleSaves(rules, checks));
}
