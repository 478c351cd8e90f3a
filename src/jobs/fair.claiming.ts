import { randomUUID } from 'node:crypto';
import { MAX_LIMIT } from '../input/defaults.js';
import { waitedOf } from '../sql/claim.js';
import type { Claimed } from '../sql/claim.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import type { VideoJob } from '../schema/entities/index.js';
import * as statements from './fair.claiming.sql.js';
import { toClaimedJobs } from './job.claiming.js';
import type { Begun, Claim } from './job.claiming.js';
import { announceMoved } from './job.changes.js';
import { announce } from './job.events.js';
import type { Row } from './job.row.js';

/** How many users may be locked by others before the users whose turn it is. */
const LOCKED_USERS = 32;

/** Whose turn it was last, in this process. It begins anywhere, so that processes do not follow each other. */
export class Rotation {
  lastUser: string = randomUUID();
}

/** What a claim in turn took. */
export interface ClaimedInTurn extends Omit<Claimed<VideoJob>, 'dueUntil'> {
  /** How long its slowest statement searched for jobs, in ms. */
  readonly searchMs: number;
  /** Whether another claim had locked users whose turn it was, so that there may be more jobs in a moment. */
  readonly passedOver: boolean;
}

/** What one step of it took. */
interface Step {
  readonly jobs: VideoJob[];
  readonly failed: number;
  readonly waitedMs: readonly number[];
  /** The last user that it came to; null if none has anything. */
  readonly walkedTo: string | null;
  readonly sawAllUsers: boolean;
  /** Whether a user got its full share, so that it may have more jobs. */
  readonly mayHaveMore: boolean;
  readonly searchMs: number;
  readonly passedOver: boolean;
}

/**
 * The last user that a walk came to, how many users' turn it was by then, how many others it saw, and how
 * many whose turn it was would have been enough.
 */
type Walked = readonly [userId: string, turns: number, passed: number, enough: number] | null;

/** Claims up to `claim.limit` jobs of users whose turn comes after `lastUser`, of `look` that it looks at. */
type TakeStep = (claim: Claim, lastUser: string, look: number) => Promise<Step>;

/**
 * Claims pending jobs that are due, of one user after the other, the oldest of each: each user that has
 * work gets as many as any other, and one that is alone gets all. It goes on until it has its fill, or has
 * been at all users.
 */
export async function claimInTurn(
  db: SqlRunner,
  claim: Claim,
  rotation: Rotation,
  maxRunningPerUser?: number,
): Promise<ClaimedInTurn> {
  return maxRunningPerUser === undefined
    ? goRound(db, anyNumber(db, statements.claimInTurn), claim, rotation)
    : goRound(db, upTo(db, maxRunningPerUser), claim, rotation);
}

/** Claims jobs whose leases have ended, and then pending jobs as `claimInTurn` does. */
export const claimAnyInTurn = (
  db: SqlRunner,
  claim: Claim,
  rotation: Rotation,
): Promise<ClaimedInTurn> => goRound(db, anyNumber(db, statements.claimAnyInTurn), claim, rotation);

async function goRound(
  db: SqlRunner,
  step: TakeStep,
  claim: Claim,
  rotation: Rotation,
): Promise<ClaimedInTurn> {
  const claimed = await takeSteps(step, claim, rotation);
  announce(db.dataSource, 'notifications', claimed.failed, undefined);
  announceMoved(db.dataSource, undefined, () => claimed.items);
  return claimed;
}

async function takeSteps(step: TakeStep, claim: Claim, rotation: Rotation): Promise<ClaimedInTurn> {
  const items: VideoJob[] = [];
  const waitedMs: number[] = [];
  let [failed, searchMs, more, passedOver] = [0, 0, false, false];
  // Other claims of this process move the rotation meanwhile: where this one has been is its own.
  let lastUser = rotation.lastUser;
  let begin = lastUser;
  for (let look = claim.limit; ;) {
    try {
      const took = await step({ ...claim, limit: claim.limit - items.length }, lastUser, look);
      items.push(...took.jobs);
      waitedMs.push(...took.waitedMs);
      failed += took.failed;
      more ||= took.mayHaveMore;
      passedOver ||= took.passedOver;
      searchMs = Math.max(searchMs, took.searchMs);
      const places = claim.limit - items.length;
      // Where places are left, all whose turn it was have been asked.
      const last = (places === 0 ? lastServed(took.jobs) : took.walkedTo) ?? lastUser;
      const wasEverywhere = took.sawAllUsers || isPassed(begin, lastUser, last);
      rotation.lastUser = lastUser = last;
      if (places === 0) return { items, waitedMs, failed, searchMs, passedOver, more: true };
      const mayFindMore = took.mayHaveMore || took.failed > 0;
      if (wasEverywhere && !mayFindMore) {
        return { items, waitedMs, failed, searchMs, passedOver, more: more && !took.sawAllUsers };
      }
      // It ends when it has been at all users once more, and nobody had anything to add.
      if (mayFindMore) begin = last;
      // Behind thousands of jobs without a try left it takes a handful of statements.
      look = took.failed > 0 ? Math.min(4 * look, MAX_LIMIT) : places;
    } catch (error) {
      // What is claimed is claimed, and the next claim meets the error again.
      if (items.length === 0) throw error;
      return { items, waitedMs, failed, searchMs, passedOver, more: true };
    }
  }
}

/** Whether who goes on from `from`, and turns round after the last user, has come to `user` at `to`. */
const isPassed = (user: string, from: string, to: string): boolean =>
  from < to ? from < user && user <= to : user > from || user <= to;

const anyNumber =
  (db: SqlRunner, statement: (t: Tables) => Statement): TakeStep =>
  async ({ limit, leaseMs, workerId, maxAttempts }, lastUser, look) => {
    const values = [limit, leaseMs, workerId, maxAttempts, lastUser, look];
    const rows = await db.run<Row>('claimJobs', statement, values);
    const [about, jobs] = toClaimedJobs<AboutStep>(rows, workerId);
    const [walkedTo = null, turns = 0] = about.walked ?? [];
    return {
      jobs,
      failed: about.failed,
      waitedMs: waitedOf(about),
      walkedTo,
      sawAllUsers: hasSeenAll(about.walked),
      mayHaveMore: hasGotAll(jobs, look, turns),
      searchMs: about.searchMs ?? 0,
      passedOver: false,
    };
  };

interface AboutStep extends Begun {
  readonly walked: Walked;
  readonly searchMs?: number;
}

const hasSeenAll = (walked: Walked): boolean =>
  walked === null || (walked[1] < walked[3] && walked[2] < statements.MAX_PASSED);

/** How many jobs each user got, in turn. */
function countsOf(jobs: readonly VideoJob[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { userId } of jobs) counts.set(userId, (counts.get(userId) ?? 0) + 1);
  return counts;
}

/** The last user who got a job in the last round. The users before it got equally many. */
function lastServed(jobs: readonly VideoJob[]): string | undefined {
  const counts = countsOf(jobs);
  const rounds = Math.max(...counts.values());
  return [...counts].findLast(([, count]) => count === rounds)?.[0];
}

/** Whether a user got all that it was offered of `look` jobs. */
const hasGotAll = (jobs: readonly VideoJob[], look: number, users: number): boolean =>
  Math.max(...countsOf(jobs).values()) >= Math.floor(look / users);

/** Claims in a short transaction: first locks the users, and then counts their running jobs. */
const upTo =
  (db: SqlRunner, maxRunningPerUser: number): TakeStep =>
  ({ limit, leaseMs, workerId, maxAttempts }, lastUser, look) =>
    db.transaction('claimJobs', async (run) => {
      const most = limit + LOCKED_USERS;
      const [turn] = await run<{ users: string[]; walked: Walked }>(statements.lockUsersInTurn, [
        limit,
        lastUser,
        most,
        maxRunningPerUser,
      ]);
      const { users = [], walked = null } = turn ?? {};
      const [walkedTo = null, turns = 0] = walked ?? [];
      const isCut = users.length === limit;
      const step = {
        walkedTo: isCut ? (users.at(-1) ?? null) : walkedTo,
        sawAllUsers: !isCut && hasSeenAll(walked),
        passedOver: !isCut && users.length < turns,
        searchMs: 0,
      };
      if (users.length === 0) {
        return { ...step, jobs: [], failed: 0, waitedMs: [], mayHaveMore: false };
      }
      const values = [limit, leaseMs, workerId, maxAttempts, users, look, maxRunningPerUser];
      const rows = await run<Row>(statements.claimOfLockedUsers, values);
      const [about, jobs] = toClaimedJobs(rows, workerId);
      const mayHaveMore = hasGotAll(jobs, look, users.length);
      return { ...step, jobs, failed: about.failed, waitedMs: waitedOf(about), mayHaveMore };
    });
