import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource, QueryRunner } from 'typeorm';
import { DatabaseUnavailableError, fromDriver } from '../errors.js';
import { WAKE_UP_CHANNEL } from '../jobs/wake-up.sender.js';
import type { Activity } from './outage.watch.js';

/** What a client of `pg` does for a listener; TypeORM hands it out untyped. */
interface ListeningClient {
  on(event: 'notification', listener: (message: { payload?: string }) => void): void;
  on(event: 'end', listener: () => void): void;
  end(): Promise<void>;
}

const OPERATION = 'Listening for wake-ups';

/** Listens for the `NOTIFY` of other processes, on a connection that it opens again when it breaks. */
export class WakeUpListener {
  private readonly stopping = new AbortController();
  private loop: Promise<void> = Promise.resolve();

  /**
   * @param dataSource - gives up statements that take too long
   * @param checkMs - how often to ask whether the server is still there: one that vanished without a
   *   goodbye is as silent as one that has nothing to tell
   */
  constructor(
    private readonly dataSource: DataSource,
    private readonly checkMs: number,
    private readonly listening: Activity,
    private readonly onWakeUp: (queue: string) => void,
  ) {}

  start(): void {
    this.loop = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.loop;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const queryRunner = this.dataSource.createQueryRunner('master');
      try {
        await this.listen(queryRunner);
      } catch (error) {
        await this.listening.wait(fromDriver(error, OPERATION)).catch(() => {});
      } finally {
        await queryRunner.release();
      }
    }
  }

  /** Until it is stopped. @throws when the connection breaks */
  private async listen(queryRunner: QueryRunner): Promise<void> {
    const client = (await queryRunner.connect()) as ListeningClient;
    const { signal } = this.stopping;
    const over = new AbortController();
    try {
      client.on('end', () => over.abort());
      client.on('notification', ({ payload }) => this.onWakeUp(payload ?? ''));
      await queryRunner.query(`LISTEN ${WAKE_UP_CHANNEL}`);
      this.listening.succeeded();
      // What came while nobody listened.
      this.onWakeUp('jobs');
      this.onWakeUp('notifications');
      const ends = AbortSignal.any([signal, over.signal]);
      while (!ends.aborted) {
        await sleep(this.checkMs, undefined, { signal: ends }).catch(() => {});
        if (!ends.aborted) await queryRunner.query('SELECT 1');
      }
      if (!signal.aborted) {
        const cause = new Error('the connection ended');
        throw new DatabaseUnavailableError(OPERATION, { cause });
      }
    } finally {
      // Nobody else shall get it: it listens, or it is broken.
      void client.end();
    }
  }
}
