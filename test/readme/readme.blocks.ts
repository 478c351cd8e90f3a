import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../consumer/consumer.project.js';

/** A fenced block of a document. */
export interface Block {
  /** The word after the opening fence: ts, bash, mermaid, text. */
  readonly kind: string;
  readonly text: string;
  /** The heading that it stands under, and its number there: `Transactions 1`. */
  readonly place: string;
  /** The file that a block of code is, where its first line says so: `src/app.module.ts`. */
  readonly file?: string;
}

/** The Markdown files for users and contributors, and the pages of `docs`, except those that TypeDoc makes. */
export function documents(): string[] {
  const pages = readdirSync(join(REPOSITORY, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md') && !/^(?:api|node_modules)\//.test(path))
    .map((path) => `docs/${path}`);
  const others = ['README', 'CHANGELOG', 'CONTRIBUTING', 'SECURITY', 'examples/README'];
  return [...others.map((name) => `${name}.md`), ...pages.toSorted()];
}

/** Reads the fenced blocks of a document of this repository, in order. */
export function blocksOf(document: string): Block[] {
  const blocks: Block[] = [];
  const counts = new Map<string, number>();
  let heading = '';
  let open: { kind: string; indent: number; lines: string[] } | undefined;
  for (const line of readFileSync(join(REPOSITORY, document), 'utf8').split('\n')) {
    if (open !== undefined && line.trim() === '```') {
      const count = (counts.get(heading) ?? 0) + 1;
      counts.set(heading, count);
      const file = /^\/\/ (src\/[\w./-]+)$/.exec(open.lines[0] ?? '')?.[1];
      const text = open.lines.join('\n');
      blocks.push({ kind: open.kind, text, place: `${heading} ${count}`, file });
      open = undefined;
    } else if (open !== undefined) {
      open.lines.push(line.slice(open.indent));
    } else if (/^\s*(?:```|~~~)/.test(line)) {
      open = { kind: line.trim().slice(3), indent: line.search(/\S/), lines: [] };
    } else {
      heading = /^#+ (.+)$/.exec(line)?.[1] ?? heading;
    }
  }
  if (open !== undefined) throw new Error(`A block under "${heading}" is not closed.`);
  return blocks;
}

/** The headings of a document, in order. */
export function headingsOf(document: string): string[] {
  const text = readFileSync(join(REPOSITORY, document), 'utf8').replaceAll(
    /^ *```[^]*?^ *```$/gm,
    '',
  );
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading);
}

/** Reads the rows of the tables under a heading, as cells without their backticks' outside. */
export function tablesUnder(document: string, heading: string): string[][] {
  const text = readFileSync(join(REPOSITORY, document), 'utf8');
  const section = text.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^[|\s:-]+$/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
}

/** The names that stand in backticks. */
export function namesIn(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
}
