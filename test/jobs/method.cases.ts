import { randomUUID } from 'node:crypto';
import type { TransactionOptions } from '../../src/sql/transaction.options.js';
import { NotificationType } from '../../src/schema/entities/index.js';
import type { NotificationLog } from '../../src/schema/entities/index.js';
import { UserService } from '../../src/users/user.service.js';
import type { Harness } from '../support/harness.js';
import { HOUR_MS, makers, result, stored, video } from './fixtures.js';
import type { Peer } from './fixtures.js';

/** A call of one method, on rows that were prepared for it. */
export interface MethodCase {
  call(options?: TransactionOptions): Promise<unknown>;
  /** Whether other sessions see the result of the call. */
  done(): Promise<boolean>;
  /** A call that the same method must refuse. */
  refused(options: TransactionOptions): Promise<unknown>;
}

export type CaseMaker = (h: Harness, other: Peer) => Promise<MethodCase>;

const statusIs = (h: Harness, jobId: string, status: string) => async (): Promise<boolean> =>
  (await stored(h.dataSource, jobId))?.status === status;
const deliveryIs =
  (h: Harness, id: string, status: string, retries = 0) =>
  async (): Promise<boolean> => {
    const [row] = await h.dataSource.query(
      `SELECT 1 FROM notification_log
     WHERE "notificationId" = $1 AND "deliveryStatus" = $2 AND "retryCount" = $3`,
      [id, status, retries],
    );
    return row !== undefined;
  };

async function creation(
  h: Harness,
  other: Peer,
  call: (input: object, options?: TransactionOptions) => Promise<unknown>,
  named: boolean,
): Promise<MethodCase> {
  const { userId } = await h.user();
  const jobId = randomUUID();
  const name = named ? { jobId } : {};
  return {
    call: (options) => call({ ...video, ...name, userId }, options),
    done: async () => {
      const { jobs } = await other.jobs.listJobs({ userId });
      return jobs.length === 1;
    },
    refused: (options) => call({ ...video, ...name, userId: randomUUID() }, options),
  };
}

/** A notification whose delivery is claimed. */
async function delivery(h: Harness): Promise<NotificationLog> {
  const { jobId } = await makers(h).completed();
  await h.notifications.claimNotifications({ limit: 1000, leaseMs: HOUR_MS });
  const { notifications } = await h.notifications.listNotifications({ jobId });
  return notifications[0] as NotificationLog;
}

/** Every method that takes a manager, by name. */
export const METHODS: Record<string, CaseMaker> = {
  createJob: (h, other) =>
    creation(h, other, (input, o) => h.jobs.createJob(input as never, o), false),
  'createJob with a jobId': (h, other) =>
    creation(h, other, (input, o) => h.jobs.createJob(input as never, o), true),
  createJobs: (h, other) =>
    creation(h, other, (input, o) => h.jobs.createJobs([input as never], o), false),
  'createJobs with a jobId': (h, other) =>
    creation(h, other, (input, o) => h.jobs.createJobs([input as never], o), true),
  completeJob: async (h) => {
    const job = await makers(h).leased();
    return {
      call: (o) => h.jobs.completeJob(job, result, o),
      done: statusIs(h, job.jobId, 'completed'),
      refused: (o) => h.jobs.completeJob({ ...job, runNumber: 9 }, result, o),
    };
  },
  completeJobs: async (h) => {
    const job = await makers(h).leased();
    return {
      call: (o) => h.jobs.completeJobs([{ job, result }], o),
      done: statusIs(h, job.jobId, 'completed'),
      refused: async (o) => {
        const stale = { ...job, runNumber: 9 };
        const [verdict] = await h.jobs.completeJobs([{ job: stale, result }], o);
        if (verdict !== undefined && 'error' in verdict) throw verdict.error;
      },
    };
  },
  failJob: async (h) => {
    const job = await makers(h).leased();
    return {
      call: (o) => h.jobs.failJob(job, { errorMessage: 'x' }, o),
      done: statusIs(h, job.jobId, 'failed'),
      refused: (o) => h.jobs.failJob({ ...job, runNumber: 9 }, { errorMessage: 'x' }, o),
    };
  },
  'failJob with a retry': async (h) => {
    const job = await makers(h).leased();
    return {
      call: (o) => h.jobs.failJob(job, { errorMessage: 'x', retryInMs: HOUR_MS }, o),
      done: statusIs(h, job.jobId, 'pending'),
      refused: (o) =>
        h.jobs.failJob({ ...job, runNumber: 9 }, { errorMessage: 'x', retryInMs: 0 }, o),
    };
  },
  releaseJob: async (h) => {
    const job = await makers(h).leased();
    return {
      call: (o) => h.jobs.releaseJob(job, o),
      done: statusIs(h, job.jobId, 'pending'),
      refused: (o) => h.jobs.releaseJob({ ...job, runNumber: 9 }, o),
    };
  },
  retryJob: async (h) => {
    const { jobId } = await makers(h).failed();
    return {
      call: (o) => h.jobs.retryJob(jobId, o),
      done: statusIs(h, jobId, 'pending'),
      refused: (o) => h.jobs.retryJob(randomUUID(), o),
    };
  },
  cancelJob: async (h) => {
    const { jobId } = await makers(h).leased();
    return {
      call: (o) => h.jobs.cancelJob(jobId, {}, o),
      done: statusIs(h, jobId, 'failed'),
      refused: (o) => h.jobs.cancelJob(randomUUID(), {}, o),
    };
  },
  logNotification: async (h, other) => {
    const { jobId } = await makers(h).completed();
    await h.dataSource.query(`DELETE FROM notification_log WHERE "jobId" = $1`, [jobId]);
    const input = { jobId, notificationType: NotificationType.SUCCESS };
    return {
      call: (o) => h.notifications.logNotification(input, o),
      done: async () => {
        const { notifications } = await other.notifications.listNotifications({ jobId });
        return notifications.length === 1;
      },
      refused: (o) =>
        h.notifications.logNotification(
          { ...input, notificationType: NotificationType.FAILURE },
          o,
        ),
    };
  },
  markSent: async (h) => {
    const claimed = await delivery(h);
    return {
      call: (o) => h.notifications.markSent(claimed, o),
      done: deliveryIs(h, claimed.notificationId, 'sent'),
      refused: (o) => h.notifications.markSent({ ...claimed, deliveryNumber: 9 }, o),
    };
  },
  markFailed: async (h) => {
    const claimed = await delivery(h);
    return {
      call: (o) => h.notifications.markFailed(claimed, { errorMessage: 'x' }, o),
      done: deliveryIs(h, claimed.notificationId, 'failed'),
      refused: (o) =>
        h.notifications.markFailed({ ...claimed, deliveryNumber: 9 }, { errorMessage: 'x' }, o),
    };
  },
  redeliver: async (h) => {
    const claimed = await delivery(h);
    await h.notifications.markFailed(claimed, { errorMessage: 'x' });
    return {
      call: (o) => h.notifications.redeliver(claimed.notificationId, o),
      done: deliveryIs(h, claimed.notificationId, 'pending'),
      refused: (o) => h.notifications.redeliver(randomUUID(), o),
    };
  },
  'markFailed with a retry': async (h) => {
    const claimed = await delivery(h);
    const failure = { errorMessage: 'x', retryInMs: HOUR_MS };
    return {
      call: (o) => h.notifications.markFailed(claimed, failure, o),
      done: deliveryIs(h, claimed.notificationId, 'pending', 1),
      refused: (o) => h.notifications.markFailed({ ...claimed, deliveryNumber: 9 }, failure, o),
    };
  },
  createUser: async (h, other) => {
    const username = `u_${randomUUID().slice(0, 8)}`;
    const input = { username, email: `${username}@example.com`, passwordHash: 'x' };
    const { email } = await h.user();
    return {
      call: (o) => h.users.createUser(input, o),
      done: async () =>
        (await new UserService(other.dataSource).findForLogin({ username })) !== null,
      refused: (o) => h.users.createUser({ ...input, email }, o),
    };
  },
  updateUser: async (h, other) => {
    const [{ userId }, another] = [await h.user(), await h.user()];
    const email = `${randomUUID()}@example.com`;
    return {
      call: (o) => h.users.updateUser(userId, { email }, o),
      done: async () => (await new UserService(other.dataSource).findForLogin({ email })) !== null,
      refused: (o) => h.users.updateUser(userId, { email: another.email }, o),
    };
  },
};
