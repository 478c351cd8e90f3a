import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ConfigurationError } from '../errors.js';

/** A file of the pages. */
export interface ConsoleFile {
  readonly type: string;
  readonly text: string;
}

/** The folders of the files: beside this module, from its CommonJS copy, and from its sources. */
const PLACES = ['./assets/', '../../console/assets/', '../../dist/console/assets/'];

const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" ' +
  'fill="#3b5bdb"/><path d="M9 8h15v4H13v3h9v4h-9v6H9z" fill="#fff"/></svg>';

/**
 * Reads the files of the pages. Vite has built them with the package.
 *
 * @throws ConfigurationError if the files are missing
 */
export function readConsoleFiles(): Map<string, ConsoleFile> {
  const folder = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url))).find(
    (place) => existsSync(`${place}console.js`),
  );
  if (folder === undefined) {
    throw new ConfigurationError(
      'FrameForgeConsoleModule cannot find its pages, dist/console/assets/console.js. A bundler has left them ' +
        'out: exclude @frameforge/shared-types from the bundle. In a checkout, run: npm run build.',
    );
  }
  const read = (name: string): string => readFileSync(`${folder}${name}`, 'utf8');
  return new Map([
    ['console.js', { type: 'text/javascript; charset=utf-8', text: read('console.js') }],
    ['console.css', { type: 'text/css; charset=utf-8', text: read('console.css') }],
    ['icon.svg', { type: 'image/svg+xml', text: ICON }],
  ]);
}

/**
 * The HTML of a page. Its links are relative to the address of the console, so that they work behind any reverse
 * proxy.
 *
 * @param base - the relative path from the page to the console, such as `../`
 */
export function pageHtml(files: ReadonlyMap<string, ConsoleFile>, base: string): string {
  // The browser keeps files for long, so a new build has new addresses.
  const address = (name: string): string => {
    const digest = createHash('sha256').update(files.get(name)?.text ?? '');
    return `assets/${name}?v=${digest.digest('hex').slice(0, 12)}`;
  };
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<base href="${base}">
<title>FrameForge</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="${address('icon.svg')}">
<link rel="stylesheet" href="${address('console.css')}">
<script type="module" src="${address('console.js')}"></script>
</head>
<body>
<div id="app"></div>
<noscript>This page needs JavaScript.</noscript>
</body>
</html>
`;
}

/**
 * The relative path from a page to the console's own address, which ends with a slash.
 *
 * @param url - the URL of the request; a proxy may have removed its first parts
 * @param depth - how many parts the path of the page has below the console's path
 * @param last - the last part of the console's path
 */
export function baseOf(url: string, depth: number, last: string): string {
  const path = url.split('?')[0] ?? '';
  const up = path.endsWith('/') ? depth : depth - 1;
  return up < 0 ? `${last}/` : './' + '../'.repeat(up);
}

/** Security headers of the pages. The browser may load only files that come from the console. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'same-origin',
};
