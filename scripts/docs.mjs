// npm run docs: makes the site of docs/ in docs/.vitepress/dist, and checks it. It fails when a public
// symbol has no text, and when a link of the site or of another Markdown file leads nowhere.
//
//   npm run docs -- --serve      also shows it, on a free port of this machine
//   DOCS_BASE=/docs/ npm run docs   for a site that is not at the root of its host
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkRepositoryLinks } from './repository.links.mjs';
import { heading, outcome, run, Tally } from './tally.mjs';

const repository = dirname(dirname(fileURLToPath(import.meta.url)));
const docs = join(repository, 'docs');
const site = join(docs, '.vitepress/dist');
const base = process.env.DOCS_BASE ?? '/';
const SOURCES = 'https://github.com/frameforge/shared-types/blob/main/';

const npmInDocs = (...args) => ['npm', '--silent', '--prefix', docs, ...args];
const tally = new Tally();

if (!isInstalled()) await step('what makes the site', npmInDocs('ci', '--no-audit', '--no-fund'));
rmSync(join(docs, 'api'), { recursive: true, force: true });
rmSync(site, { recursive: true, force: true });
await step('the reference of the API: every public symbol has a text', npmInDocs('run', 'api'));
await step('the site', npmInDocs('run', 'build'));
if (tally.failed === 0) report('the links of the site', checkLinks());
report('the links of the README and the other files', checkRepositoryLinks(repository));
tally.end();
if (tally.failed === 0 && process.argv.includes('--serve')) {
  await run(npmInDocs('run', 'preview'));
}

function report(name, { checked, dead }) {
  heading(name);
  for (const line of dead) process.stdout.write(`${line}\n`);
  process.stdout.write(`${checked} links\n`);
  tally.add(name, { passed: dead.length === 0 ? 1 : 0, failed: dead.length });
}

async function step(name, command) {
  heading(name);
  tally.add(name, outcome(await run(command)));
}

/** The packages that a lock file installs on every platform. */
function versionsIn(path) {
  if (!existsSync(path)) return '';
  const { packages } = JSON.parse(readFileSync(path, 'utf8'));
  return Object.entries(packages)
    .filter(([name, { optional }]) => name !== '' && optional !== true)
    .map(([name, { version }]) => `${name}@${version}`)
    .join();
}

function isInstalled() {
  const installed = versionsIn(join(docs, 'node_modules/.package-lock.json'));
  return installed === versionsIn(join(docs, 'package-lock.json'));
}

/** Each link of each page must lead to a file of the site or of this repository, and to its anchor. */
function checkLinks() {
  const pages = readdirSync(site, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.html'),
  );
  const texts = new Map(pages.map((page) => [page, readFileSync(join(site, page), 'utf8')]));
  const problems = new Map();
  let checked = 0;
  for (const [page, text] of texts) {
    const links = [...text.matchAll(/ (?:href|src)="([^"]+)"/g)].map(([, link = '']) =>
      link.replaceAll('&amp;', '&'),
    );
    for (const link of new Set(links)) {
      checked += 1;
      const problem = problemOf(link, page, texts);
      if (problem === undefined) continue;
      // Links of the menu are on every page. They are reported once.
      const line = `${link} ${problem}`;
      problems.set(line, problems.get(line) ?? page);
    }
  }
  const dead = [...problems].map(([line, page]) => `${page}: ${line}`);
  return { checked, dead };
}

function problemOf(link, page, texts) {
  if (link.startsWith(SOURCES)) {
    const file = decodeURI(link.slice(SOURCES.length).split('#')[0]);
    return existsSync(join(repository, file)) ? undefined : 'names a file that does not exist';
  }
  // Links to other hosts are not checked.
  if (/^(?:https?|mailto|data):/.test(link)) return undefined;
  const { pathname, hash } = new URL(link, `http://site${base}${page}`);
  if (!pathname.startsWith(base)) return `leads out of ${base}`;
  const path = decodeURI(pathname.slice(base.length));
  const file = path === '' || path.endsWith('/') ? `${path}index.html` : path;
  const target = [file, `${file}.html`].find((name) => existsSync(join(site, name)));
  if (target === undefined) return 'leads to no page';
  const id = decodeURIComponent(hash.slice(1));
  if (id === '' || texts.get(target) === undefined) return undefined;
  return texts.get(target).includes(` id="${id}"`) ? undefined : 'leads to no heading of that page';
}
