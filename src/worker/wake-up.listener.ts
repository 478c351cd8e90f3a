import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseUnavailableError } from '../errors.js';
import { fromDriver } from '../errors.driver.js';
import { WAKE_UP_CHANNEL } from '../jobs/wake-up.sender.js';
import type { PgClient, PgPool } from '../peers/pg.internals.js';
import { reply } from '../sql/reply.js';
import type { Activity } from './outage.watch.js';
import { openClient } from './lease.pool.js';

const OPERATION = 'Listening for wake-ups';

/** Listens for the `NOTIFY` of other processes, on a connection that it opens again when it breaks. */
export class WakeUpListener {
  private readonly stopping = new AbortController();
  private loop: Promise<void> = Promise.resolve();

  /**
   * @param checkMs - how often to ask whether the server is still there, and how long it may take to
   *   answer: one that vanished without a goodbye is as silent as one that has nothing to tell
   */
  constructor(
    private readonly pool: PgPool,
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
      try {
        await this.listen(await openClient(this.pool));
      } catch (error) {
        await this.listening.wait(fromDriver(error, OPERATION)).catch(() => {});
      }
    }
  }

  /** Until it is stopped. @throws when the connection breaks */
  private async listen(client: PgClient): Promise<void> {
    const { signal } = this.stopping;
    const over = new AbortController();
    try {
      client.on('end', () => over.abort());
      client.on('notification', ({ payload }) => this.onWakeUp(payload ?? ''));
      await reply(client, { text: `LISTEN ${WAKE_UP_CHANNEL}` }, this.checkMs);
      this.listening.succeeded();
      // What came while nobody listened.
      this.onWakeUp('jobs');
      this.onWakeUp('notifications');
      const ends = AbortSignal.any([signal, over.signal]);
      while (!ends.aborted) {
        await sleep(this.checkMs, undefined, { signal: ends }).catch(() => {});
        if (!ends.aborted) await reply(client, { text: 'SELECT 1' }, this.checkMs);
      }
      if (!signal.aborted) {
        const cause = new Error('the connection ended');
        throw new DatabaseUnavailableError(OPERATION, { cause });
      }
    } finally {
      // Nobody else shall get it: it listens, or it is broken.
      client.release(true);
    }
  }
}
