import { format } from './rounds.ts';
import type { ScenarioResult } from './rounds.ts';
import type { Series } from './scenario.ts';

const WIDTH = 820;
const LABELS = 260;
const BAR = 18;
const GAP = 8;

/** The colour of each part, on a light page and on a dark one. */
const COLORS = {
  paper: ['#ffffff', '#0d1117'],
  ink: ['#0f172a', '#e6edf3'],
  own: ['#2563eb', '#60a5fa'],
  beside: ['#c2410c', '#fb923c'],
  floor: ['#475569', '#94a3b8'],
  other: ['#cbd5e1', '#334155'],
};
type Color = keyof typeof COLORS;

const colorsOf = (theme: 0 | 1): string =>
  Object.entries(COLORS)
    .map(([name, colors]) => `.${name}{color:${colors[theme]}}`)
    .join('');

const STYLE =
  `<style>text,rect,circle{fill:currentColor}line,polyline{fill:none;stroke:currentColor}` +
  `${colorsOf(0)}@media(prefers-color-scheme:dark){${colorsOf(1)}}</style>`;

const text = (
  x: number,
  y: number,
  content: string,
  attributes = '',
  color: Color = 'ink',
): string => `<text class="${color}" x="${x}" y="${y}" ${attributes}>${escape(content)}</text>`;

const escape = (content: string): string =>
  content.replaceAll('`', '').replaceAll('&', '&amp;').replaceAll('<', '&lt;');

function document(height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" font-family="system-ui, sans-serif" font-size="13">`,
    `<title>${escape(title)}</title>`,
    STYLE,
    `<rect class="paper" width="${WIDTH}" height="${height}"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

/** Draws a panel of horizontal bars for each scenario. Each panel has its own scale. */
export function barChart(title: string, scenarios: readonly ScenarioResult[]): string {
  const parts: string[] = [];
  let y = 12;
  for (const { row, title: name, unit, subjects } of scenarios) {
    parts.push(text(12, y + 16, `${row}. ${name} (${unit})`, 'font-weight="600"'));
    y += 28;
    const most = Math.max(...subjects.map(({ median }) => median));
    for (const { name: subject, median } of subjects) {
      const width = (median / most) * (WIDTH - LABELS - 90);
      const color =
        subject === 'floor'
          ? 'floor'
          : /this package|large table|1,000|200,000|fair/.test(subject)
            ? 'own'
            : 'other';
      parts.push(
        text(LABELS - 8, y + 14, subject, 'text-anchor="end"'),
        `<rect x="${LABELS}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" class="${color}"/>`,
        text(LABELS + width + 6, y + 14, format(median)),
      );
      y += BAR + GAP;
    }
    y += 16;
  }
  return document(y, title, parts);
}

const PLOT = { left: 70, top: 44, height: 150, bottom: 40 };

/** Draws curves over time, one panel below the other. */
export function lineChart(title: string, series: readonly Series[]): string {
  const panel = PLOT.top + PLOT.height + PLOT.bottom;
  const parts = series.flatMap((line, index) => panelOf(line, index * panel));
  return document(panel * series.length, title, parts);
}

function panelOf({ name, unit, points, beside }: Series, offset: number): string[] {
  const all = [...points, ...(beside?.points ?? [])];
  const end = Math.max(...all.map(([time]) => time), 1);
  const most = Math.max(...all.map(([, figure]) => figure), 1);
  const right = WIDTH - 20;
  const top = offset + PLOT.top;
  const bottom = top + PLOT.height;
  const x = (time: number): string => (PLOT.left + (time / end) * (right - PLOT.left)).toFixed(1);
  const y = (figure: number): string => (bottom - (figure / most) * PLOT.height).toFixed(1);
  const path = points.map(([time, figure]) => `${x(time)},${y(figure)}`);
  const dots = beside?.points ?? [];
  const rule = (at: number): string =>
    `<line class="other" x1="${PLOT.left}" y1="${at}" x2="${right}" y2="${at}"/>`;
  return [
    text(12, offset + 24, `${name} (${unit})`, 'font-weight="600"'),
    ...(beside === undefined
      ? []
      : [text(right, offset + 24, `● ${beside.name}`, 'text-anchor="end"', 'beside')]),
    rule(top),
    rule(bottom),
    text(PLOT.left - 8, top + 5, format(most), 'text-anchor="end"'),
    text(PLOT.left - 8, bottom + 5, '0', 'text-anchor="end"'),
    text(PLOT.left, bottom + 20, '0 s'),
    text(right, bottom + 20, `${format(end)} s`, 'text-anchor="end"'),
    `<polyline class="own" stroke-width="2" points="${path.join(' ')}"/>`,
    ...dots.map(
      ([time, figure]) => `<circle class="beside" cx="${x(time)}" cy="${y(figure)}" r="3"/>`,
    ),
  ];
}
