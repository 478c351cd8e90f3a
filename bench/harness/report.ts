import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format as prettify } from 'prettier';
import { barChart, lineChart } from './chart.ts';
import { figuresOf, machinesOf, notesOf, ratiosOf } from './tables.ts';
import type { MeasuredScenario } from './tables.ts';

const RESULTS = 'results.json';
const BEGIN = '<!-- results: written by the bench -->';
const END = '<!-- end of results -->';

/** The end of the unit of rates. The first chart shows rows with such a unit. */
const RATE = '/s';

/** Writes results. Earlier results of other rows stay. */
export async function writeReport(
  directory: string,
  measured: readonly MeasuredScenario[],
): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const rows = new Map(readResults(directory).map((result) => [result.row, result]));
  for (const result of measured) rows.set(result.row, result);
  const all = [...rows.values()].toSorted((a, b) => a.row - b.row);
  await write(join(directory, RESULTS), JSON.stringify(all), 'json');
  await write(join(directory, 'results.md'), `# Results\n\n${markdownOf(all)}`, 'markdown');
  const rates = all.filter(({ unit }) => unit.endsWith(RATE));
  if (rates.length > 0) {
    writeFileSync(join(directory, 'rates.svg'), barChart('Rates: longer is better', rates));
  }
  for (const { row, title, series } of all) {
    if (series.length > 0) writeFileSync(join(directory, chartOf(row)), lineChart(title, series));
  }
}

/** Writes the stored results between two marks of a page. */
export async function updatePage(page: string, directory: string, images: string): Promise<void> {
  const [before, rest] = split(readFileSync(page, 'utf8'), BEGIN);
  const [, after] = split(rest, END);
  const all = readResults(directory);
  const charts = [
    `![Rates: longer is better](${images}/rates.svg)`,
    ...all
      .filter(({ series }) => series.length > 0)
      .map(({ row, title }) => `![${title}](${images}/${chartOf(row)})`),
  ];
  const content = [before + BEGIN, markdownOf(all), ...charts, END + after].join('\n\n');
  await write(page, content, 'markdown');
}

const chartOf = (row: number): string => `over-time-${row}.svg`;

function split(content: string, mark: string): [string, string] {
  const at = content.indexOf(mark);
  if (at < 0) throw new Error(`The page lacks the mark ${mark}.`);
  return [content.slice(0, at), content.slice(at + mark.length)];
}

function readResults(directory: string): MeasuredScenario[] {
  try {
    return JSON.parse(readFileSync(join(directory, RESULTS), 'utf8')) as MeasuredScenario[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function write(path: string, content: string, parser: string): Promise<void> {
  writeFileSync(path, await prettify(content, { parser, singleQuote: true, printWidth: 100 }));
}

const markdownOf = (all: readonly MeasuredScenario[]): string =>
  [
    '### Ratios',
    'Medians of the ratios of each round.',
    ratiosOf(all),
    '### Figures',
    'Medians, and the lowest and the highest round. Absolute figures are those of the machine below.',
    figuresOf(all),
    notesOf(all),
    '### Where',
    machinesOf(all),
  ].join('\n\n');
