// Checks the links of the Markdown files that are not on the site, such as the README.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const FOLDERS = ['', 'examples', 'bench', '.github'];

/** Checks that each link leads to a file of the repository, and to a heading of that file. */
export function checkRepositoryLinks(repository) {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(join(repository, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  );
  const links = files.flatMap((file) =>
    linksOf(join(repository, file)).map((link) => [file, link]),
  );
  const dead = links.flatMap(([file, link]) => {
    const problem = problemOf(link, join(repository, file));
    return problem === undefined ? [] : [`${relative('.', file)}: ${link} ${problem}`];
  });
  return { checked: links.length, dead };
}

/** The links of a Markdown file that do not lead to another host. */
function linksOf(path) {
  const text = readFileSync(path, 'utf8').replaceAll(/^ *```[^]*?^ *```$/gm, '');
  const links = [...text.matchAll(/\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"/g)];
  return links
    .map(([, inText, inHtml]) => inText ?? inHtml)
    .filter((link) => !/^[a-z]+:/.test(link));
}

function problemOf(link, path) {
  const [file = '', heading] = decodeURI(link).split('#');
  const target = file === '' ? path : join(dirname(path), file);
  if (!existsSync(target)) return 'leads to no file';
  if (heading === undefined || !target.endsWith('.md')) return undefined;
  return headingsOf(target).includes(heading) ? undefined : 'leads to no heading of that file';
}

/** The headings of a file, in the form that links to them have. */
function headingsOf(path) {
  const headings = readFileSync(path, 'utf8').matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, text]) =>
    text
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
