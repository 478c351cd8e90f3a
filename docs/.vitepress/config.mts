import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';
import type { DefaultTheme, MarkdownRenderer } from 'vitepress';

const docs = dirname(dirname(fileURLToPath(import.meta.url)));
const REPOSITORY = 'https://github.com/frameforge/shared-types';

/** Guides in this order; those that are not named here come after them, by their titles. */
const GUIDES = [
  'transactions',
  'workers',
  'cancel-and-progress',
  'limits-and-retries',
  'deliveries',
  'fair-order',
  'retention-and-bulk',
  'parameters-and-output',
  'users',
  'brokers',
  'console',
  'monitoring',
];
const OPERATIONS = [
  'existing-databases',
  'large-tables',
  'roles',
  'several-services',
  'data-sources',
  'pgbouncer',
  'replicas',
  'tls-and-managed-databases',
  'kubernetes',
  'backup-and-restore',
];

const titleOf = (file: string): string =>
  /^# (.+)$/m.exec(readFileSync(`${docs}/${file}`, 'utf8'))?.[1] ?? file;

const page = (path: string): DefaultTheme.SidebarItem => ({
  text: titleOf(`${path}.md`),
  link: `/${path}`,
});

const pagesOf = (folder: string): string[] =>
  readdirSync(`${docs}/${folder}`)
    .filter((file) => file.endsWith('.md') && file !== 'index.md')
    .map((file) => file.slice(0, -3));

/** The guides of a list that exist; with the rest of them where `others` says so. */
function guides(names: readonly string[], others: boolean): DefaultTheme.SidebarItem[] {
  const all = pagesOf('guides');
  const rest = others
    ? all.filter((name) => !GUIDES.includes(name) && !OPERATIONS.includes(name)).toSorted()
    : [];
  return [...names.filter((name) => all.includes(name)), ...rest].map((name) =>
    page(`guides/${name}`),
  );
}

/** What of a list of pages exists: the pages of the API are made by TypeDoc, before the site. */
const existing = (...paths: string[]): DefaultTheme.SidebarItem[] =>
  paths.filter((path) => existsSync(`${docs}/${path}.md`)).map((path) => page(path));

/** A link that leads out of this folder, such as to a test, leads to the repository on the site. */
function linkToRepository(markdown: MarkdownRenderer): void {
  markdown.core.ruler.push('links-to-the-repository', ({ tokens, env }) => {
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const href = token.type === 'link_open' ? token.attrGet('href') : null;
      if (href === null || /^(?:[a-z]+:|#|\/)/.test(href)) continue;
      const folder = posix.dirname(String(env.relativePath));
      const target = posix.join('docs', folder, decodeURI(href));
      if (!target.startsWith('docs/')) token.attrSet('href', `${REPOSITORY}/blob/main/${target}`);
    }
  });
}

/** A picture whose name ends with `-light` is shown in the light theme, and the one with `-dark` in the dark theme. */
function showPictureOfTheme(markdown: MarkdownRenderer): void {
  const { image } = markdown.renderer.rules;
  if (image === undefined) throw new Error('VitePress has no rule for images.');
  markdown.renderer.rules.image = (...args) => {
    const [tokens, index, , env] = args;
    const token = tokens[index];
    const light = token?.attrGet('src') ?? '';
    const dark = light.replace('-light.', '-dark.');
    const folder = posix.dirname(String(env.relativePath));
    if (dark === light || !existsSync(posix.join(docs, folder, dark))) return image(...args);
    return [light, dark]
      .map((src, theme) => {
        token?.attrSet('src', src);
        token?.attrSet('class', theme === 0 ? 'only-light' : 'only-dark');
        return image(...args);
      })
      .join('');
  };
}
const CSS = '.dark .only-light, html:not(.dark) .only-dark { display: none }';

const base = process.env.DOCS_BASE ?? '/';

export default defineConfig({
  title: 'FrameForge database',
  description: 'Jobs, notifications and migrations for NestJS on PostgreSQL.',
  base,
  head: [
    ['link', { rel: 'icon', href: `${base}icon.svg` }],
    ['style', {}, CSS],
  ],
  srcExclude: ['node_modules/**'],
  lastUpdated: false,
  markdown: {
    config: (markdown) => {
      linkToRepository(markdown);
      showPictureOfTheme(markdown);
    },
    theme: { light: 'github-light', dark: 'github-dark' },
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Tutorial', link: '/tutorial' },
      { text: 'Guides', link: '/guides/workers' },
      { text: 'Reference', link: '/reference/services' },
      { text: 'API', link: '/api/' },
    ],
    sidebar: [
      { text: 'Start', items: existing('tutorial', 'testing', 'compatibility', 'upgrading') },
      { text: 'Guides', items: guides(GUIDES, true) },
      { text: 'Operating it', items: [...existing('operations'), ...guides(OPERATIONS, false)] },
      {
        text: 'Reference',
        items: [
          ...pagesOf('reference').map((name) => page(`reference/${name}`)),
          { text: 'API', link: '/api/' },
        ],
      },
      {
        text: 'Background',
        items: existing(
          'architecture',
          'performance',
          'failover',
          'beyond-one-machine',
          'security',
        ),
      },
    ],
    socialLinks: [{ icon: 'github', link: REPOSITORY }],
  },
});
