import { AsyncLocalStorage } from 'node:async_hooks';
import { RequestBatcher } from '../../src/sql/request.batcher.js';
import type { BatchedRequests } from '../../src/sql/request.batcher.js';
import { until } from '../support/until.js';

type Numbers = BatchedRequests<number, string>;

/** Requests that are answered when the test says so, with the statement that sent each. */
function requests(rowOf?: Numbers['rowOf']) {
  const batches: { inputs: readonly number[]; answer: (passOver?: number[]) => void }[] = [];
  const alone: number[] = [];
  const made: Numbers = {
    operation: 'count',
    ...(rowOf && { rowOf }),
    together: (inputs) =>
      new Promise((resolve) => {
        const answer = (passOver: number[] = []): void =>
          resolve(inputs.map((n) => (passOver.includes(n) ? undefined : `${n} together`)));
        batches.push({ inputs, answer });
      }),
    alone: async (input) => {
      alone.push(input);
      return `${input} alone`;
    },
  };
  return { made, batches, alone };
}

const batchesOf = (count: number, { batches }: ReturnType<typeof requests>) =>
  until(() => batches.length === count);

it('sends the requests of one turn of the event loop in one statement, up to its maximum size', async () => {
  const r = requests();
  const batcher = new RequestBatcher(r.made, { maxBatch: 2 });
  const outputs = Promise.all([1, 2, 3].map((n) => batcher.run(n)));
  await batchesOf(2, r);
  r.batches.forEach(({ answer }) => answer());
  expect(await outputs).toEqual(['1 together', '2 together', '3 together']);
  expect(r.batches.map(({ inputs }) => inputs)).toEqual([[1, 2], [3]]);
});

it('sends rows that a statement passed over in one more statement, and then one by one', async () => {
  const r = requests();
  const batcher = new RequestBatcher(r.made);
  const outputs = Promise.all([1, 2, 3, 4].map((n) => batcher.run(n)));
  await batchesOf(1, r);
  r.batches[0]!.answer([2, 3, 4]);
  await batchesOf(2, r);
  expect(r.batches[1]!.inputs).toEqual([2, 3, 4]);
  r.batches[1]!.answer([4]);
  expect(await outputs).toEqual(['1 together', '2 together', '3 together', '4 alone']);
  expect(r.alone).toEqual([4]);
});

it('puts two requests about one row into two statements', async () => {
  const r = requests((n) => String(n % 10));
  const batcher = new RequestBatcher(r.made);
  const outputs = Promise.all([1, 2, 11, 21, 3].map((n) => batcher.run(n)));
  await batchesOf(3, r);
  r.batches.forEach(({ answer }) => answer());
  await outputs;
  expect(r.batches.map(({ inputs }) => inputs)).toEqual([[1, 2, 3], [11], [21]]);
});

it('runs two statements at once, and four while a whole batch waits', async () => {
  const r = requests();
  const batcher = new RequestBatcher(r.made, { maxBatch: 3 });
  const outputs: Promise<unknown>[] = [];
  const sizes = async (...ns: number[]): Promise<number[]> => {
    for (const n of ns) outputs.push(batcher.run(n));
    await new Promise((resolve) => setImmediate(resolve));
    return r.batches.map(({ inputs }) => inputs.length);
  };
  expect(await sizes(1)).toEqual([1]);
  expect(await sizes(2)).toEqual([1, 1]);
  expect(await sizes(3, 4)).toEqual([1, 1]);
  expect(await sizes(5)).toEqual([1, 1, 3]);
  expect(await sizes(6, 7, 8, 9, 10, 11, 12)).toEqual([1, 1, 3, 3]);
  r.batches[0]!.answer();
  expect(await sizes()).toEqual([1, 1, 3, 3, 3]);
  r.batches.slice(1, 4).forEach(({ answer }) => answer());
  expect(await sizes()).toEqual([1, 1, 3, 3, 3, 1]);
  r.batches.slice(4).forEach(({ answer }) => answer());
  await Promise.all(outputs);
});

it('sends other requests while a statement has no answer, and counts statements with a late answer', async () => {
  const r = requests();
  const batcher = new RequestBatcher(r.made, { maxBatch: 1 });
  const outputs = Promise.all(Array.from({ length: 9 }, (_, n) => batcher.run(n)));
  await batchesOf(8, r);
  // The first four statements are late and the other four are not, so the last request has to wait.
  r.batches.slice(0, 4).forEach(({ answer }) => answer());
  await new Promise((resolve) => setImmediate(resolve));
  expect(r.batches).toHaveLength(8);
  r.batches[4]!.answer();
  await batchesOf(9, r);
  r.batches.forEach(({ answer }) => answer());
  expect(await outputs).toHaveLength(9);
});

it('refuses requests while too many wait, and accepts them again later', async () => {
  const r = requests();
  const batcher = new RequestBatcher(r.made, { maxBatch: 1, maxPending: 5 });
  const outputs = [1, 2, 3, 4, 5].map((n) => batcher.run(n));
  await expect(batcher.run(6)).rejects.toMatchObject({
    code: 'DATABASE_UNAVAILABLE',
    message: expect.stringMatching(/^count .*5 calls are waiting already/),
  });
  await batchesOf(4, r);
  r.batches[0]!.answer();
  await outputs[0];
  const another = batcher.run(7);
  for (let batch = 1; batch < 6; batch += 1) {
    await until(() => r.batches.length > batch);
    r.batches[batch]!.answer();
  }
  expect(await another).toBe('7 together');
  await Promise.all(outputs);
});

it("runs the statement in no caller's asynchronous context, and each call goes on in its own", async () => {
  const store = new AsyncLocalStorage<string>();
  const seen = { together: [] as unknown[], alone: [] as unknown[], after: [] as unknown[] };
  const batcher = new RequestBatcher<number, number>({
    operation: 'count',
    together: async (inputs) => {
      seen.together.push(store.getStore());
      await new Promise((resolve) => setImmediate(resolve));
      seen.together.push(store.getStore());
      return inputs.map((n) => (n === 7 ? undefined : n));
    },
    alone: async (n) => {
      seen.alone.push(store.getStore());
      return n;
    },
  });
  await Promise.all(
    Array.from({ length: 1_000 }, (_, n) =>
      store.run(`request ${n}`, async () => {
        await batcher.run(n);
        seen.after.push(`${n}: ${store.getStore()}`);
      }),
    ),
  );
  expect(new Set(seen.together)).toEqual(new Set([undefined]));
  expect(seen.alone).toEqual(['request 7']);
  expect(seen.after.toSorted()).toEqual(
    Array.from({ length: 1_000 }, (_, n) => `${n}: request ${n}`).toSorted(),
  );
});
