import { format } from './rounds.ts';
import type { ScenarioResult } from './rounds.ts';
import type { Series } from './scenario.ts';

const WIDTH = 820;
const LABELS = 260;
const BAR = 18;
const GAP = 8;
const COLORS = {
  own: '#2563eb',
  floor: '#475569',
  other: '#cbd5e1',
  ink: '#0f172a',
  pale: '#64748b',
};

const text = (x: number, y: number, content: string, attributes = ''): string =>
  `<text x="${x}" y="${y}" fill="${COLORS.ink}" ${attributes}>${escape(content)}</text>`;

const escape = (content: string): string =>
  content.replaceAll('`', '').replaceAll('&', '&amp;').replaceAll('<', '&lt;');

function document(height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" font-family="system-ui, sans-serif" font-size="13">`,
    `<title>${escape(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

/** A panel of horizontal bars for each scenario, each panel on a scale of its own. */
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
          ? COLORS.floor
          : /this package|large table|1,000|200,000/.test(subject)
            ? COLORS.own
            : COLORS.other;
      parts.push(
        text(LABELS - 8, y + 14, subject, 'text-anchor="end"'),
        `<rect x="${LABELS}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" fill="${color}"/>`,
        text(LABELS + width + 6, y + 14, format(median)),
      );
      y += BAR + GAP;
    }
    y += 16;
  }
  return document(y, title, parts);
}

const PLOT = { left: 70, top: 44, height: 150, bottom: 40 };

/** Curves over time, one panel below the other. */
export function lineChart(title: string, series: readonly Series[]): string {
  const panel = PLOT.top + PLOT.height + PLOT.bottom;
  const parts = series.flatMap((line, index) => panelOf(line, index * panel));
  return document(panel * series.length, title, parts);
}

function panelOf({ name, unit, points }: Series, offset: number): string[] {
  const end = Math.max(...points.map(([time]) => time), 1);
  const most = Math.max(...points.map(([, figure]) => figure), 1);
  const right = WIDTH - 20;
  const top = offset + PLOT.top;
  const bottom = top + PLOT.height;
  const x = (time: number): number => PLOT.left + (time / end) * (right - PLOT.left);
  const y = (figure: number): number => bottom - (figure / most) * PLOT.height;
  const path = points.map(([time, figure]) => `${x(time).toFixed(1)},${y(figure).toFixed(1)}`);
  const rule = (at: number): string =>
    `<line x1="${PLOT.left}" y1="${at}" x2="${right}" y2="${at}" stroke="${COLORS.other}"/>`;
  return [
    text(12, offset + 24, `${name} (${unit})`, 'font-weight="600"'),
    rule(top),
    rule(bottom),
    text(PLOT.left - 8, top + 5, format(most), 'text-anchor="end"'),
    text(PLOT.left - 8, bottom + 5, '0', 'text-anchor="end"'),
    text(PLOT.left, bottom + 20, '0 s'),
    text(right, bottom + 20, `${format(end)} s`, 'text-anchor="end"'),
    `<polyline fill="none" stroke="${COLORS.own}" stroke-width="2" points="${path.join(' ')}"/>`,
  ];
}
