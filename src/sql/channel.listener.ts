import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { openClient } from '../connection/pools.js';
import { DatabaseUnavailableError } from '../errors.js';
import { fromDriver } from '../errors.driver.js';
import { processOf } from '../peers/pg.internals.js';
import type { PgClient, PgPool } from '../peers/pg.internals.js';
import { reply } from './reply.js';

/** Is told whether listening works, and decides how long to wait before the next try. */
export interface Listening {
  /** The subject of the messages of errors, such as `Listening`. */
  readonly what: string;
  succeeded(): void;
  /** Waits before the next try. It may reject if no further try is wanted. */
  wait(error: unknown): Promise<void>;
  /** Sends a message to the channel on another connection, to test whether it arrives. */
  send?(message: string): Promise<unknown>;
  /** Is called once if no message can arrive, because a pooler that keeps no session is in between. */
  deaf?(): void;
}

/** How long a message from this process to itself may take, in ms. */
const PROBE_MS = 2_000;
const PROBE = 'probe ';

/** Listens for the `NOTIFY` of other processes. If the connection breaks, it opens another one. */
export class ChannelListener {
  private readonly stopping = new AbortController();
  private loop: Promise<void> = Promise.resolve();
  private wasProbed = false;

  /**
   * @param checkMs - how often to ask whether the server is still there, and how long it may take to
   *   answer: a server that has vanished is as silent as a server without messages
   * @param onMessage - gets the payload of each message
   * @param onListening - is called each time that listening begins; messages before that were missed
   */
  constructor(
    private readonly pool: PgPool,
    private readonly channel: string,
    private readonly checkMs: number,
    private readonly listening: Listening,
    private readonly onMessage: (payload: string) => void,
    private readonly onListening: () => void,
  ) {}

  start(): void {
    this.loop = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.loop;
  }

  private async run(): Promise<void> {
    const { what } = this.listening;
    while (!this.stopping.signal.aborted) {
      try {
        await this.listen(await openClient(this.pool));
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        await this.listening.wait(fromDriver(error, what)).catch(() => {});
      }
    }
  }

  /** Listens until it is stopped. @throws when the connection breaks */
  private async listen(client: PgClient): Promise<void> {
    const { signal } = this.stopping;
    const over = new AbortController();
    try {
      client.on('end', () => over.abort());
      client.on('notification', ({ payload = '' }) => {
        if (!payload.startsWith(PROBE)) this.onMessage(payload);
      });
      const isPooled = await this.isPooled(client);
      await reply(client, { text: `LISTEN ${this.channel}` }, this.checkMs);
      this.listening.succeeded();
      this.onListening();
      if (isPooled) await this.probe(client);
      const ends = AbortSignal.any([signal, over.signal]);
      while (!ends.aborted) {
        await sleep(this.checkMs, undefined, { signal: ends }).catch(() => {});
        if (!ends.aborted) await reply(client, { text: 'SELECT 1' }, this.checkMs);
      }
      if (!signal.aborted) {
        const cause = new Error('the connection ended');
        throw new DatabaseUnavailableError(this.listening.what, { cause });
      }
    } finally {
      // No other caller may get this connection, because it listens or is broken.
      client.release(true);
    }
  }

  /** Whether a pooler is in between. A pooler makes up the process id that it names. It is asked only once. */
  private async isPooled(client: PgClient): Promise<boolean> {
    if (this.wasProbed || this.listening.send === undefined) return false;
    this.wasProbed = true;
    const text = 'SELECT pg_backend_pid() AS pid';
    const { rows } = await reply(client, { text }, this.checkMs);
    const [{ pid }] = rows as unknown as [{ pid: number }];
    return ![undefined, pid].includes(processOf(client));
  }

  /** Tests whether messages arrive through a pooler. */
  private async probe(client: PgClient): Promise<void> {
    const message = `${PROBE}${randomUUID()}`;
    let isHeard = false;
    client.on('notification', ({ payload }) => (isHeard ||= payload === message));
    await this.listening.send?.(message);
    await sleep(PROBE_MS, undefined, { signal: this.stopping.signal }).catch(() => {});
    if (!isHeard && !this.stopping.signal.aborted) this.listening.deaf?.();
  }
}
