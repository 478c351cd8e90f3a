import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { REPOSITORY } from '../consumer/consumer.project.js';
import { namesIn, tablesUnder } from './readme.blocks.js';

const SOURCES = join(REPOSITORY, 'src');

/** The rooms of `src`, and files directly in it, that the files of a room import. */
function importsOf(room: string): Set<string> {
  const files = readdirSync(join(SOURCES, room), { recursive: true, encoding: 'utf8' });
  const found = files
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => {
      const text = readFileSync(join(SOURCES, room, file), 'utf8');
      const specifiers = [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)\.js'/g)];
      return specifiers.map(([, path = '']) => posix.join(room, posix.dirname(file), path));
    })
    .map((path) => (path.includes('/') ? `${path.split('/')[0]}/` : `${path}.ts`));
  return new Set(found.filter((place) => place !== `${room}/`));
}

it('docs/architecture.md describes every room, and which others each room imports', () => {
  const rows = tablesUnder('docs/architecture.md', 'The rooms').slice(1);
  const rooms = readdirSync(SOURCES, { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  expect(rows.map(([room]) => room).toSorted()).toEqual(
    rooms.map(({ name }) => `\`${name}/\``).toSorted(),
  );
  for (const [room = '', , allowed = ''] of rows) {
    const places = [...importsOf(room.slice(1, -2))];
    const others = places.filter(
      (place) => !/^errors(\.\w+)?\.ts$/.test(place) && !namesIn(allowed).includes(place),
    );
    expect({ room, others }).toEqual({ room, others: [] });
  }
});
