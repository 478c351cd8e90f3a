// npm run test:matrix [-- --corners | --only <text>]
//
// Installs the packed package in real applications of many versions, and runs them: see cells.ts. A run of
// all of them writes its result to docs/compatibility.md. Ends with a line "N passed, N failed".
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { heading, Tally } from '../../scripts/tally.mjs';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { REPOSITORY } from '../consumer/consumer.project.js';
import { packPackage } from '../consumer/packed.package.js';
import { query } from '../support/query.js';
import type { Facts } from './applications.js';
import { runCell } from './applications.js';
import { CELLS, CORNERS, nameOf } from './cells.js';

const { values } = parseArgs({
  options: { corners: { type: 'boolean', default: false }, only: { type: 'string' } },
});
const { corners, only } = values;
const cells = (corners ? CORNERS : CELLS).filter((cell) => nameOf(cell).includes(only ?? ''));

const tally = new Tally();
const rows: string[] = [];
const server = await startEmbeddedPostgres();
try {
  const packed = await packPackage();
  for (const [index, cell] of cells.entries()) {
    const name = nameOf(cell);
    heading(name);
    try {
      await query(server.url, `CREATE DATABASE cell_${index}`);
      const url = new URL(server.url);
      url.pathname = `/cell_${index}`;
      const facts = await runCell(cell, packed.tarball, url.href);
      rows.push(rowOf(name, facts));
      process.stdout.write(`${rows.at(-1)}\n`);
      tally.add(name, { passed: 1, failed: 0 });
    } catch (error) {
      process.stdout.write(`${String(error)}\n`);
      tally.add(name, { passed: 0, failed: 1 });
    }
  }
} finally {
  await server.stop();
}
if (tally.failed === 0 && cells.length === CELLS.length) record();
tally.end();

function rowOf(name: string, { node, postgres, packages }: Facts): string {
  const versions = Object.values(packages).join(' | ');
  return `| ${name} | ${versions} | ${node} | ${/^\d+\.\d+/.exec(postgres)?.[0]} |`;
}

/** Replaces the table at the end of the page. */
function record(): void {
  const file = join(REPOSITORY, 'docs/compatibility.md');
  const [page = ''] = readFileSync(file, 'utf8').split(/^## What was tried$/m);
  const date = new Date().toLocaleDateString('en-GB', { dateStyle: 'long' });
  const table = [
    '| application | @nestjs/core | @nestjs/typeorm | typeorm | pg | Node | PostgreSQL |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
  const text = `\`npm run test:matrix\` on ${date}: all of these passed.`;
  writeFileSync(file, `${page.trimEnd()}\n\n## What was tried\n\n${text}\n\n${table}\n`);
}
