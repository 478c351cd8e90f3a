import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { poolLike } from '../../connection/pools.js';
import { poolsOf } from '../../peers/typeorm.internals.js';
import { ChannelListener } from '../../sql/channel.listener.js';
import type { ChangedJob } from '../job.changes.js';
import { CHANGES_CHANNEL, readChanges } from '../wake-up.sender.js';

/** How often to ask whether the server is still there, and how long a try to connect may take, in ms. */
const CHECK_MS = 5_000;
/** How long to wait before another try to connect, in ms. */
const RETRY_MS = 1_000;

/** The data sources whose watchers listen, and the logger for problems. */
const listening = new WeakMap<DataSource, (error: unknown) => void>();

/** Lets the watchers of a data source listen to other processes. @returns a function that ends this */
export function letWatchersListen(
  dataSource: DataSource,
  warn: (error: unknown) => void,
): () => void {
  listening.set(dataSource, warn);
  return () => {
    listening.delete(dataSource);
  };
}

/**
 * Receives which jobs other processes change, if `letWatchersListen` was called for the data source. It uses
 * a connection of its own. While it cannot listen, the watchers still read their jobs every second.
 *
 * @param onListening - is called each time that listening begins: earlier messages were missed
 * @returns a function that ends this
 */
export function hearChanges(
  dataSource: DataSource,
  onChange: (jobs: readonly ChangedJob[]) => void,
  onListening: () => void,
): () => void {
  const warn = listening.get(dataSource);
  const [primary] = poolsOf(dataSource);
  if (warn === undefined || primary === undefined) return () => {};
  const pool = poolLike(primary, {
    max: 1,
    connectionTimeoutMillis: CHECK_MS,
    idleTimeoutMillis: 0,
  });
  const stopping = new AbortController();
  let isTold = false;
  const follow = {
    what: 'Listening for changes of jobs',
    succeeded: () => {
      isTold = false;
    },
    wait: async (error: unknown) => {
      // Warns once for each outage.
      if (!isTold) warn(error);
      isTold = true;
      await sleep(RETRY_MS, undefined, { signal: stopping.signal });
    },
  };
  const listener = new ChannelListener(
    pool,
    CHANGES_CHANNEL,
    CHECK_MS,
    follow,
    (payload) => onChange(readChanges(payload)),
    onListening,
  );
  listener.start();
  return () => {
    stopping.abort();
    void listener.stop().then(() => pool.end());
  };
}
