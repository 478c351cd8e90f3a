import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../consumer/consumer.project.js';
import { blocksOf } from './readme.blocks.js';

it('the README has at most 200 lines', () => {
  const lines = readFileSync(join(REPOSITORY, 'README.md'), 'utf8').trimEnd().split('\n');
  expect(lines.length).toBeLessThanOrEqual(200);
});

it('the README shows the adoption in five lines', () => {
  const block = blocksOf('README.md').find(({ file }) => file === 'src/app.module.ts');
  const lines = block?.text.split('\n').filter((line) => line !== '' && !line.startsWith('//'));
  expect(lines?.length).toBeLessThanOrEqual(5);
});
