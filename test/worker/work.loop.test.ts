import { Logger } from '@nestjs/common';
import { OutageWatch } from '../../src/worker/outage.watch.js';
import { WorkLoop } from '../../src/worker/work.loop.js';
import type { ClaimedWork, WorkQueue } from '../../src/worker/work.loop.js';

// These tests use a queue without a database. Other tests use the real queues.

/** A queue that answers a claim when the test says so, and records the end of each item. */
class Queue implements WorkQueue<string> {
  readonly concurrency = 2;
  readonly pollMs = 2 ** 30;
  readonly ran: string[] = [];
  readonly givenBack: string[] = [];
  readonly limits: number[] = [];
  /** Ends the run of the item with this name. */
  readonly ends = new Map<string, () => void>();
  answer!: (items: string[]) => void;
  /** The running claim. */
  claimed!: Promise<void>;
  private onClaim: () => void = () => {};

  constructor() {
    this.expectClaim();
  }

  expectClaim(): void {
    this.claimed = new Promise((resolve) => (this.onClaim = resolve));
  }

  claim(limit: number): Promise<ClaimedWork<string>> {
    this.limits.push(limit);
    this.onClaim();
    return new Promise((resolve) => {
      this.answer = (items) =>
        resolve({ items, more: items.length >= limit, lookAgainMs: undefined });
    });
  }

  run(item: string): Promise<void> {
    this.ran.push(item);
    return new Promise((resolve) => this.ends.set(item, resolve));
  }

  async giveBack(items: readonly string[]): Promise<void> {
    this.givenBack.push(...items);
  }
}

let queue: Queue;
let loop: WorkLoop<string>;
beforeEach(() => {
  queue = new Queue();
  loop = new WorkLoop(queue, new OutageWatch(new Logger()).activity('Claiming'));
  loop.start();
});

it('gives back items that were claimed while it was told to stop', async () => {
  await queue.claimed;
  const stopped = loop.stop();
  queue.answer(['a', 'b']);
  await stopped;
  expect(queue.givenBack).toEqual(['a', 'b']);
  expect(queue.ran).toEqual([]);
  expect(queue.limits).toEqual([2]);
});

it('claims as many items as have ended, and stops when the last one has ended', async () => {
  await queue.claimed;
  queue.expectClaim();
  queue.answer(['a', 'b']);
  // Both places are taken. The next claim comes when one is free.
  while (queue.ran.length < 2) await Promise.resolve();
  expect(queue.limits).toEqual([2]);
  queue.ends.get('a')?.();
  await queue.claimed;
  expect(queue.limits).toEqual([2, 1]);
  queue.answer([]);
  let hasStopped = false;
  const stopped = loop.stop().then(() => (hasStopped = true));
  await new Promise(setImmediate);
  expect(hasStopped).toBe(false);
  queue.ends.get('b')?.();
  await stopped;
  expect(queue.givenBack).toEqual([]);
});

it('claims again at once when it is woken during a claim', async () => {
  await queue.claimed;
  queue.expectClaim();
  loop.wake();
  // A job may have been created too late for the running claim, and the next poll is far away.
  queue.answer([]);
  await queue.claimed;
  expect(queue.limits).toEqual([2, 2]);
  queue.answer([]);
  await loop.stop();
});

it('does not claim while it records twice as many outcomes as it has places', async () => {
  const slow: WorkQueue<string> = queue;
  slow.run = (item, onHandled) => {
    onHandled();
    return new Promise((resolve) => queue.ends.set(item, resolve));
  };
  for (const batch of [
    ['a', 'b'],
    ['c', 'd'],
    ['e', 'f'],
  ]) {
    await queue.claimed;
    queue.expectClaim();
    queue.answer(batch);
  }
  while (queue.ends.size < 6) await new Promise(setImmediate);
  for (let turns = 0; turns < 10; turns += 1) await new Promise(setImmediate);
  expect(queue.limits).toEqual([2, 2, 2]);
  queue.ends.get('a')?.();
  await queue.claimed;
  expect(queue.limits).toEqual([2, 2, 2, 1]);
  const stopped = loop.stop();
  queue.answer([]);
  for (const end of queue.ends.values()) end();
  await stopped;
});
