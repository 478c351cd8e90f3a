import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../consumer/consumer.project.js';

const text = readFileSync(join(REPOSITORY, 'CONTRIBUTING.md'), 'utf8');

it('CONTRIBUTING lists the files that name a column', () => {
  const [, list = ''] = /<!-- the files that name (?:\w+) -->\n\n([^]*?)\n\n/.exec(text) ?? [];
  const listed = [...list.matchAll(/`(src\/[^`]+)`/g)].map(([, file]) => file);
  const files = readdirSync(join(REPOSITORY, 'src'), { recursive: true, encoding: 'utf8' })
    .map((file) => `src/${file}`)
    .filter((file) => file.endsWith('.ts'))
    .filter((file) => readFileSync(join(REPOSITORY, file), 'utf8').includes('progressMessage'));
  expect(listed.toSorted()).toEqual(files.toSorted());
});

it('CONTRIBUTING names only commands that exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const named = [...text.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name);
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
});

it('CONTRIBUTING runs one test by a name that exists', () => {
  const [, file = '', name = ''] = /npm test -- (\S+) -t '([^']+)'/.exec(text) ?? [];
  expect(readFileSync(join(REPOSITORY, file), 'utf8')).toContain(`it('${name}`);
});
