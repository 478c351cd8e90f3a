import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';

/** How often to ask, in ms. */
const LOOK_MS = 100;
/** How long an answer may take, in ms. */
const PATIENCE_MS = 1_000;

/**
 * A plain client that asks again and again, on a new connection each time. It finds the longest time in which no new
 * answer came.
 */
export class Watch {
  private longest = 0;
  private stopped = false;
  private readonly watching: Promise<void>;

  /** Starts at once. @param query - a query for one value */
  constructor(
    private readonly url: string,
    private readonly query: string,
  ) {
    this.watching = this.watch();
  }

  /** Stops. @returns the longest time without a new answer, in ms */
  async stop(): Promise<number> {
    this.stopped = true;
    await this.watching;
    return this.longest;
  }

  private async watch(): Promise<void> {
    let [since, before] = [performance.now(), await this.ask()];
    while (!this.stopped) {
      await sleep(LOOK_MS);
      const answer = await this.ask();
      if (answer === undefined || answer === before) continue;
      this.longest = Math.max(this.longest, performance.now() - since);
      [since, before] = [performance.now(), answer];
    }
  }

  /** @returns undefined if there was no answer */
  private async ask(): Promise<unknown> {
    const client = new Client({
      connectionString: this.url,
      connectionTimeoutMillis: PATIENCE_MS,
      query_timeout: PATIENCE_MS,
    });
    client.on('error', () => {});
    try {
      await client.connect();
      const { rows } = await client.query<unknown[]>({ text: this.query, rowMode: 'array' });
      return rows[0]?.[0];
    } catch {
      return undefined;
    } finally {
      // It sends no goodbye, because a frozen server would not answer it.
      client.connection.stream.destroy();
    }
  }
}
