import type { DataSource } from 'typeorm';
import { poolsOf } from '../peers/typeorm.internals.js';

/** How many connections a worker needs for claims and outcomes, besides those of its handlers. */
const OF_ITS_OWN = 5;

/**
 * The warning about a pool that has fewer connections than a worker runs handlers.
 *
 * @param handlers - how many run at once
 * @returns undefined if each handler can have a connection
 */
export function tooSmallPool(dataSource: DataSource, handlers: number): string | undefined {
  const max = poolsOf(dataSource)[0]?.options.max ?? Infinity;
  return handlers <= max
    ? undefined
    : `${handlers} handlers run here at once, and the pool has ${max} connections: those that use the ` +
        `database wait for each other. Raise \`poolSize\` to ${handlers + OF_ITS_OWN}, or lower \`concurrency\`.`;
}
