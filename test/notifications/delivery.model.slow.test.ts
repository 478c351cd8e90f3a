import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { LeaseLostError } from '../../src/errors.js';
import type { NotificationHandle } from '../../src/notifications/notification.inputs.js';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import { untilAllSeen } from '../support/all-seen.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { ROUND } from '../../src/notifications/delivery.round.js';
import { HOUR_MS, makers, openPeer } from '../jobs/fixtures.js';
import type { Peer } from '../jobs/fixtures.js';

// This test compares deliveries with a model. There are two senders, leases that end early, stale handles, and a
// service that sends pending notifications and knows only the columns of the first three migrations.

/** A notification in the model, and every handle that was ever given out for it, newest first. */
interface ModelDelivery {
  readonly notificationId: string;
  status: 'pending' | 'sent' | 'failed';
  delivery: number;
  retries: number;
  due: boolean;
  error: string | null;
  handles: NotificationHandle[];
}

interface Real {
  readonly job: VideoJob;
  readonly senders: readonly Peer[];
}
type Model = ModelDelivery[];
type Command = fc.AsyncCommand<Model, Real>;

let h: Harness;
let peer: Peer;
let job: VideoJob;
const seen = new Map<string, number>();
beforeAll(async () => {
  h = await openHarness();
  peer = await openPeer(h.url);
  job = await makers(h).pending();
});
afterAll(async () => {
  await peer.close();
  await h.close();
});

const count = (label: string, times = 1): unknown =>
  seen.set(label, (seen.get(label) ?? 0) + times);
const pick = (model: Model, index: number): ModelDelivery => model[index % model.length]!;

const ids = (list: object[]): string[] => list.map((one) => JSON.stringify(one)).toSorted();

async function compare(model: Model): Promise<void> {
  const rows: (NotificationLog & { due: boolean })[] = await h.dataSource.query(
    `SELECT *, "availableAt" <= statement_timestamp() AS due FROM notification_log
     ORDER BY "notificationId"`,
  );
  for (const { sentAt, deliveryStatus } of rows) {
    assert.equal(sentAt !== null, deliveryStatus === 'sent', 'sentAt is set by sending alone');
  }
  assert.deepEqual(
    rows.map((row) => ({
      notificationId: row.notificationId,
      status: row.deliveryStatus as string,
      delivery: row.deliveryNumber,
      retries: row.retryCount,
      due: row.due,
      error: row.errorMessage,
    })),
    model
      .map(({ handles: _, ...delivery }) => delivery)
      .toSorted((a, b) => (a.notificationId < b.notificationId ? -1 : 1)),
  );
}

const command =
  <Args extends object>(
    name: string,
    act: (model: Model, real: Real, args: Args) => Promise<unknown>,
    needsOne = true,
  ) =>
  (args: Args): Command => ({
    check: (model) => !needsOne || model.length > 0,
    run: async (model, real) => {
      await act(model, real, args);
      await compare(model);
    },
    toString: () => `${name}(${JSON.stringify(args)})`,
  });

const insert = command<{ retries: number }>(
  'an older service logs',
  async (model, real, { retries }) => {
    if (model.length >= 3) return;
    const [row] = await h.dataSource.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "retryCount")
       VALUES ($1, 'success', 'a@example.com', $2) RETURNING "notificationId"`,
      [real.job.jobId, retries],
    );
    const fresh = { status: 'pending', delivery: 0, due: true, error: null } as const;
    const { notificationId } = row as NotificationLog;
    const handles = [{ notificationId, deliveryNumber: 0 }];
    model.push({ ...fresh, notificationId, retries, handles });
  },
  false,
);

const claim = command<{ by: number; maxAttempts: number }>(
  'claimNotifications',
  async (model, { senders }, { by, maxAttempts }) => {
    const claimed = await senders[by]!.notifications.claimNotifications({
      leaseMs: HOUR_MS,
      maxAttempts,
    });
    const expected: object[] = [];
    for (const one of model.filter(({ status, due }) => status === 'pending' && due)) {
      const { notificationId } = one;
      const tries = one.delivery % ROUND;
      if (tries >= maxAttempts) {
        one.status = 'failed';
        one.error ??= `Gave up after ${tries} attempts: the last delivery was lost.`;
        count('exhausted');
      } else {
        one.retries = Math.max(one.retries, tries);
        one.delivery += 1;
        one.due = false;
        const handle = { notificationId, deliveryNumber: one.delivery };
        expected.push(handle);
        one.handles.unshift(handle);
        count('claimed');
      }
    }
    assert.deepEqual(
      ids(
        claimed.map(({ notificationId, deliveryNumber }) => ({ notificationId, deliveryNumber })),
      ),
      ids(expected),
    );
  },
);

const timePasses = command<{ which: number }>('time passes', async (model, _, { which }) => {
  const one = pick(model, which);
  await h.dataSource.query(
    `UPDATE notification_log SET "availableAt" = now() - interval '1 minute'
     WHERE "notificationId" = $1`,
    [one.notificationId],
  );
  one.due = true;
});

type Marking = {
  by: number;
  which: number;
  age: number;
  as: 'sent' | 'failed' | 'retried' | 'soon';
};

const mark = command<Marking>('mark', async (model, { senders }, { by, which, age, as }) => {
  const one = pick(model, which);
  const handle = one.handles[Math.min(age, one.handles.length - 1)]!;
  const { notifications } = senders[by]!;
  const retryInMs = { sent: undefined, failed: undefined, retried: HOUR_MS, soon: 0 }[as];
  const call =
    as === 'sent'
      ? notifications.markSent(handle)
      : notifications.markFailed(handle, { errorMessage: as, retryInMs });
  if (one.status !== 'pending' || handle.deliveryNumber !== one.delivery) {
    const { status, delivery: deliveryNumber } = one;
    await assert.rejects(call, (error) => {
      assert(error instanceof LeaseLostError);
      assert.deepEqual(
        { status: error.status, deliveryNumber: error.deliveryNumber },
        { status, deliveryNumber },
      );
      return true;
    });
    count(`${as}: lost`);
    return;
  }
  const marked = await call;
  assert.equal(marked.notificationId, one.notificationId);
  one.error = as === 'sent' ? null : as;
  if (as === 'sent' || as === 'failed') one.status = as;
  else {
    one.due = as === 'soon';
    one.retries = Math.max(one.retries, one.delivery % ROUND);
  }
  count(`${as}: done`);
});

const redeliver = command<{ by: number; which: number }>(
  'redeliver',
  async (model, { senders }, { by, which }) => {
    const one = pick(model, which);
    const call = senders[by]!.notifications.redeliver(one.notificationId);
    if (one.status !== 'failed') {
      const { status, delivery: deliveryNumber } = one;
      await assert.rejects(call, {
        code: 'INVALID_NOTIFICATION_TRANSITION',
        status,
        deliveryNumber,
      });
      count('redeliver: refused');
      return;
    }
    const { deliveryNumber } = await call;
    assert(deliveryNumber > one.delivery, 'a number was issued twice');
    one.delivery = (Math.floor(one.delivery / ROUND) + 1) * ROUND;
    Object.assign(one, { status: 'pending', retries: 0, due: true, error: null });
    count('redeliver: done');
  },
);

const redeliverAll = command<{ by: number }>(
  'redeliverNotifications',
  async (model, { senders }, { by }) => {
    const failed = model.filter(({ status }) => status === 'failed');
    const outcome = await senders[by]!.notifications.redeliverNotifications({});
    assert.deepEqual(outcome, { matched: failed.length, changed: failed.length });
    for (const one of failed) {
      one.delivery = (Math.floor(one.delivery / ROUND) + 1) * ROUND;
      Object.assign(one, { status: 'pending', retries: 0, due: true, error: null });
    }
    count('redelivered with others', failed.length);
  },
);

const sendByHand = command<{ which: number }>(
  'an older service sends',
  async (model, _, { which }) => {
    const one = pick(model, which);
    if (one.status !== 'pending') return;
    await h.dataSource.query(
      `UPDATE notification_log SET "deliveryStatus" = 'sent', "sentAt" = now()
     WHERE "notificationId" = $1 AND "deliveryStatus" = 'pending'`,
      [one.notificationId],
    );
    one.status = 'sent';
    count('sent by hand');
  },
);

const by = fc.nat(1);
const which = fc.nat(2);
const commands: fc.Arbitrary<Command>[] = [
  fc.record({ retries: fc.constantFrom(0, 0, 3) }).map(insert),
  fc.record({ by, maxAttempts: fc.constantFrom(1, 2, 3, 100) }).map(claim),
  fc.record({ by, maxAttempts: fc.constant(100) }).map(claim),
  fc.record({ which }).map(timePasses),
  fc.record({ which }).map(timePasses),
  ...(['sent', 'failed', 'retried', 'soon'] as const).map((as) =>
    fc.record({ by, which, age: fc.constantFrom(0, 0, 1, 2), as: fc.constant(as) }).map(mark),
  ),
  fc.record({ which }).map(sendByHand),
  fc.record({ by, which }).map(redeliver),
  fc.record({ by, which }).map(redeliver),
  fc.record({ by }).map(redeliverAll),
];

it('behaves like the model, whichever service sends', async () => {
  const sequences = fc.commands(commands, { maxCommands: 40, size: 'max' });
  const property = fc.asyncProperty(sequences, async (sequence) => {
    await h.dataSource.query('DELETE FROM notification_log');
    const real = { job, senders: [{ ...peer, notifications: h.notifications }, peer] };
    await fc.asyncModelRun(() => ({ model: [], real }), sequence);
  });
  const outcomes = ['sent', 'failed', 'retried', 'soon'].flatMap((as) => [
    `${as}: done`,
    `${as}: lost`,
  ]);
  const redelivered = ['redeliver: done', 'redeliver: refused', 'redelivered with others'];
  const labels = ['claimed', 'exhausted', 'sent by hand', ...redelivered, ...outcomes];
  await untilAllSeen(labels, seen, () => fc.assert(property, { numRuns: 200 }));
}, 600_000);
