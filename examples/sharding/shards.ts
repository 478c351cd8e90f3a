import { createHash } from 'node:crypto';

/** The names of the data sources. Each has a database of its own, with users and their jobs. */
export const SHARDS = ['east', 'west'] as const;
export type Shard = (typeof SHARDS)[number];

/**
 * The shard of a user. Each shard has a weight for each user, and the shard with the highest weight has the user
 * (rendezvous hashing). If a shard is added, only those users move for whom the new shard has the highest weight.
 */
export function shardOf(userId: string): Shard {
  const weightOf = (shard: Shard): string =>
    createHash('sha256').update(`${shard} ${userId.toLowerCase()}`).digest('hex');
  return SHARDS.reduce((best, shard) => (weightOf(shard) > weightOf(best) ? shard : best));
}
