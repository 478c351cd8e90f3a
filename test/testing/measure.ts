// npm run bench:testing [-- workers...]
//
// Measures how long createTestDatabase() and drop() take, with several processes at work at once.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createTestDatabase } from '../../src/testing/index.js';
import { TestSession } from '../../src/testing/test.session.js';

const EACH = 30;

interface Times {
  readonly create: number[];
  readonly drop: number[];
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

if (process.send === undefined) await compare();
else await work();

/** Creates a database as a test file does, and returns it with its connection. */
async function work(): Promise<void> {
  const times: Times = { create: [], drop: [] };
  await (await createTestDatabase()).drop();
  process.send?.('ready');
  await once(process, 'message');
  for (let i = 0; i < EACH; i += 1) {
    const start = performance.now();
    const database = await createTestDatabase();
    const created = performance.now();
    await database.drop();
    times.create.push(created - start);
    times.drop.push(performance.now() - created);
  }
  process.send?.(times);
  process.disconnect();
}

async function compare(): Promise<void> {
  const session = await TestSession.open();
  print(`Node ${process.version}, ${cpus().length} processors; ${EACH} databases per worker\n`);
  print('| workers | create, median | 95th percentile | drop, median |');
  print('| ---: | ---: | ---: | ---: |');
  const counts = process.argv.slice(2).map(Number);
  for (const workers of counts.length > 0 ? counts : [1, 2, 8]) {
    const { create, drop } = await measure(workers);
    const cells = [at(create, 0.5), at(create, 0.95), at(drop, 0.5)];
    print(`| ${workers} | ${cells.map((ms) => `${ms.toFixed(0)} ms`).join(' | ')} |`);
  }
  await session.close();
}

async function measure(workers: number): Promise<Times> {
  const children = Array.from({ length: workers }, () => fork(fileURLToPath(import.meta.url)));
  await Promise.all(children.map((child) => once(child, 'message')));
  const results = children.map((child) => once(child, 'message') as Promise<[Times]>);
  for (const child of children) child.send('go');
  const all = (await Promise.all(results)).map(([times]) => times);
  return {
    create: all.flatMap(({ create }) => create),
    drop: all.flatMap(({ drop }) => drop),
  };
}

function at(values: number[], quantile: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * quantile)] ?? NaN;
}
