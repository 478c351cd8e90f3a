import type { DataSource } from 'typeorm';
import { DatabaseUnavailableError, fromDriver } from '../errors.js';
import { WAKE_UP_CHANNEL } from '../jobs/wake-up.sender.js';
import type { Activity } from './outage.watch.js';

/** What a client of `pg` does for a listener; TypeORM hands it out untyped. */
interface ListeningClient {
  on(event: 'notification', listener: (message: { payload?: string }) => void): void;
  once(event: 'end', listener: () => void): void;
  removeAllListeners(event: 'notification'): void;
}

const OPERATION = 'Listening for wake-ups';

/** Listens for the `NOTIFY` of other processes, on a connection that it opens again when it breaks. */
export class WakeUpListener {
  private stopped = false;
  private end: () => void = () => {};
  private loop: Promise<void> = Promise.resolve();

  constructor(
    private readonly dataSource: DataSource,
    private readonly listening: Activity,
    private readonly onWakeUp: (queue: string) => void,
  ) {}

  start(): void {
    this.loop = this.listen();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.end();
    await this.loop;
  }

  private async listen(): Promise<void> {
    while (!this.stopped) {
      const queryRunner = this.dataSource.createQueryRunner('master');
      try {
        const client = (await queryRunner.connect()) as ListeningClient;
        const ended = new Promise<void>((resolve) => {
          this.end = resolve;
          client.once('end', resolve);
        });
        client.on('notification', ({ payload }) => this.onWakeUp(payload ?? ''));
        await queryRunner.query(`LISTEN ${WAKE_UP_CHANNEL}`);
        this.listening.succeeded();
        // What came while nobody listened.
        this.onWakeUp('jobs');
        this.onWakeUp('notifications');
        if (!this.stopped) await ended;
        client.removeAllListeners('notification');
        if (!this.stopped) {
          const cause = new Error('the connection ended');
          throw new DatabaseUnavailableError(OPERATION, { cause });
        }
      } catch (error) {
        await this.listening.wait(fromDriver(error, OPERATION)).catch(() => {});
      } finally {
        await queryRunner.release();
      }
    }
  }
}
