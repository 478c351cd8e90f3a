import { randomUUID } from 'node:crypto';
import { MAX_LIMIT } from '../input/defaults.js';
import { addNew } from '../sql/claim.js';
import type { Claimed, Step } from '../sql/claim.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import type { VideoJob } from '../schema/entities/index.js';
import * as statements from './fair.claiming.sql.js';
import { claimLostThen, failSpent, toClaimedJobs } from './job.claiming.js';
import type { Begun, Claim } from './job.claiming.js';
import { announceMoved } from './job.changes.js';
import type { Row } from './job.row.js';

/** A claim looks for this many more users than it needs, because other claims may have locked some. */
const LOCKED_USERS = 32;

/** The user whose turn was last, in this process. It begins at random, so that processes do not visit users in step. */
export class Rotation {
  lastUser: string = randomUUID();
  /** How many steps for one job walk at once, because a look at the next user alone has found nothing. */
  walks = 0;
}

/** The result of a claim in turn. */
export interface ClaimedInTurn extends Omit<Claimed<VideoJob>, 'dueUntil'> {
  /** How long the slowest statement of the claim searched for jobs, in ms. */
  readonly searchMs: number;
  /** Whether other claims had locked users whose turn it was. There may be more jobs in a moment. */
  readonly passedOver: boolean;
}

/** The result of one step of a claim in turn. */
interface StepInTurn extends Pick<Step<VideoJob>, 'items' | 'waitedMs' | 'spent'> {
  /** The last user that the step visited; null if no user has a pending job. */
  readonly walkedTo: string | null;
  readonly sawAllUsers: boolean;
  /** Whether a user got its full share, so that it may have more jobs. */
  readonly mayHaveMore: boolean;
  readonly searchMs: number;
  readonly passedOver: boolean;
}

/**
 * The end of a walk over users: the last user, how many users had their turn, how many it passed over, and
 * after how many turns it would have stopped.
 */
type Walked = readonly [userId: string, turns: number, passed: number, enough: number] | null;

/** Looks for `look` jobs of the users after `lastUser`, and claims up to `claim.limit` of them. */
type TakeStep = (claim: Claim, lastUser: string, look: number) => Promise<StepInTurn>;

/**
 * Claims pending jobs that are due, of one user after the other, each user's oldest jobs first. All users
 * with work get equally many. A user who is alone gets all. It goes on until it has enough jobs, or has
 * visited all users.
 */
export async function claimInTurn(
  db: SqlRunner,
  claim: Claim,
  rotation: Rotation,
  maxRunningPerUser?: number,
): Promise<ClaimedInTurn> {
  return maxRunningPerUser === undefined
    ? goRound(db, anyNumber(db, ANY, rotation), claim, rotation)
    : goRound(db, upTo(db, maxRunningPerUser), claim, rotation);
}

/** Claims first jobs whose leases have ended, and then pending jobs as `claimInTurn` does. */
export async function claimAnyInTurn(
  db: SqlRunner,
  claim: Claim,
  rotation: Rotation,
): Promise<VideoJob[]> {
  let lost = false;
  const see = (about: AboutStep): void => {
    lost ||= about.lost ?? false;
  };
  const step = anyNumber(db, UNLESS_LOST, rotation, see);
  const { items } = await goRound(db, step, claim, rotation);
  // A lease may have ended between two statements of this claim.
  if (!lost || items.length > 0) return items;
  return claimLostThen(db, claim, (rest) => claimInTurn(db, rest, rotation));
}

async function goRound(
  db: SqlRunner,
  step: TakeStep,
  claim: Claim,
  rotation: Rotation,
): Promise<ClaimedInTurn> {
  const claimed = await takeSteps(db, step, claim, rotation);
  announceMoved(db.dataSource, undefined, () => claimed.items);
  return claimed;
}

async function takeSteps(
  db: SqlRunner,
  step: TakeStep,
  claim: Claim,
  rotation: Rotation,
): Promise<ClaimedInTurn> {
  const items: VideoJob[] = [];
  const waitedMs: number[] = [];
  const asked = new Set<string>();
  let [failed, searchMs, more, passedOver] = [0, 0, false, false];
  // Other claims of this process move the rotation meanwhile, so this claim keeps its own position.
  let lastUser = rotation.lastUser;
  let begin = lastUser;
  for (let look = Math.min(claim.limit, MAX_LIMIT); ;) {
    try {
      const took = await step({ ...claim, limit: claim.limit - items.length }, lastUser, look);
      items.push(...took.items);
      waitedMs.push(...took.waitedMs);
      more ||= took.mayHaveMore;
      passedOver ||= took.passedOver;
      searchMs = Math.max(searchMs, took.searchMs);
      if (took.spent.length > 0) failed += await failSpent(db, claim.maxAttempts, took.spent);
      const hasFoundSpent = addNew(asked, took.spent);
      const places = claim.limit - items.length;
      // If places are left, it has visited every user whose turn it was.
      const last = (places === 0 ? lastServed(took.items) : took.walkedTo) ?? lastUser;
      const wasEverywhere = took.sawAllUsers || isPassed(begin, lastUser, last);
      rotation.lastUser = lastUser = last;
      if (places === 0) return { items, waitedMs, failed, searchMs, passedOver, more: true };
      const mayFindMore = took.mayHaveMore || hasFoundSpent;
      if (wasEverywhere && !mayFindMore) {
        return { items, waitedMs, failed, searchMs, passedOver, more: more && !took.sawAllUsers };
      }
      // It ends after one more round over all users that finds nothing.
      if (mayFindMore) begin = last;
      // A longer look passes thousands of jobs without a try left in a handful of statements.
      look = Math.min(hasFoundSpent ? 8 * look : places, MAX_LIMIT);
    } catch (error) {
      // The caller gets the jobs that are claimed already. The next claim meets the error again.
      if (items.length === 0) throw error;
      return { items, waitedMs, failed, searchMs, passedOver, more: true };
    }
  }
}

/** Whether a walk from `from` to `to`, which goes on with the first user after the last, visits `user`. */
const isPassed = (user: string, from: string, to: string): boolean =>
  from < to ? from < user && user <= to : user > from || user <= to;

/** The statements of a claim: one that looks at the next user alone for one job, and one that walks. */
interface Steps {
  readonly one: (t: Tables) => Statement;
  readonly many: (t: Tables) => Statement;
}

const ANY: Steps = { one: statements.claimOfNextUser, many: statements.claimInTurn };

const UNLESS_LOST: Steps = {
  one: statements.claimOfNextUserUnlessLost,
  many: statements.claimInTurnUnlessLost,
};

/** After a look at the next user alone that found nothing, this many steps walk at once. */
const WALKS = 32;

const anyNumber =
  (
    db: SqlRunner,
    { one, many }: Steps,
    rotation: Rotation,
    see?: (about: AboutStep) => void,
  ): TakeStep =>
  async ({ limit, leaseMs, workerId, maxAttempts }, lastUser, look) => {
    const ofOne = look === 1 && rotation.walks === 0;
    if (look === 1 && !ofOne) rotation.walks -= 1;
    const values = [limit, leaseMs, workerId, maxAttempts, lastUser];
    const rows = ofOne
      ? await db.run<Row>('claimJobs', one, values)
      : await db.run<Row>('claimJobs', many, [...values, look]);
    const [about, step] = toClaimedJobs<AboutStep>(rows, workerId);
    see?.(about);
    if (ofOne && about.walked !== null && step.found === 0) rotation.walks = WALKS;
    const [walkedTo = null, turns = 0] = about.walked ?? [];
    return {
      ...step,
      walkedTo,
      sawAllUsers: hasSeenAll(about.walked),
      mayHaveMore: hasGotAll(step.items, look, turns),
      searchMs: about.searchMs ?? 0,
      passedOver: false,
    };
  };

interface AboutStep extends Begun {
  readonly walked: Walked;
  readonly searchMs?: number;
  readonly lost?: boolean;
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

/** Whether a user got its full share of `look` jobs. */
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
      const turnsOfStep = {
        walkedTo: isCut ? (users.at(-1) ?? null) : walkedTo,
        sawAllUsers: !isCut && hasSeenAll(walked),
        passedOver: !isCut && users.length < turns,
        searchMs: 0,
      };
      if (users.length === 0) {
        return { ...turnsOfStep, items: [], spent: [], waitedMs: [], mayHaveMore: false };
      }
      const values = [limit, leaseMs, workerId, maxAttempts, users, look, maxRunningPerUser];
      const rows = await run<Row>(statements.claimOfLockedUsers, values);
      const [, step] = toClaimedJobs(rows, workerId);
      return { ...turnsOfStep, ...step, mayHaveMore: hasGotAll(step.items, look, users.length) };
    });
