import type { JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { numberText } from './format';

/** A line of a chart. */
export interface Line {
  readonly label: string;
  /** The name of a colour of the style sheet. */
  readonly color: string;
  readonly dashed?: boolean;
  readonly values: readonly (number | null)[];
}

const HEIGHT = 170;

/**
 * A chart with lines over time.
 *
 * @param format - converts a value to text
 */
export function Chart({
  title,
  times,
  lines,
  format = numberText,
}: {
  title: string;
  times: readonly string[];
  lines: readonly Line[];
  format?: (value: number) => string;
}): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const [at, setAt] = useState<number | null>(null);
  const [theme, setTheme] = useState(0);
  const data = useMemo(
    () =>
      [
        times.map((time) => Date.parse(time) / 1_000),
        ...lines.map(({ values }) => [...values]),
      ] as unknown as uPlot.AlignedData,
    [times, lines],
  );
  const latest = useRef(data);
  latest.current = data;
  const names = lines.map(({ label, color, dashed }) => `${label} ${color} ${dashed}`).join();
  useEffect(() => {
    const again = (): void => setTheme((count) => count + 1);
    const media = matchMedia('(prefers-color-scheme: dark)');
    media.addEventListener('change', again);
    addEventListener('frameforge:theme', again);
    return () => {
      media.removeEventListener('change', again);
      removeEventListener('frameforge:theme', again);
    };
  }, []);
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const style = getComputedStyle(element);
    const color = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: color('dim'),
      grid: { stroke: color('line'), width: 1 },
      ticks: { show: false },
      font: '11px system-ui, sans-serif',
    };
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { setScale: false } },
        scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
        axes: [
          axis,
          { ...axis, size: 62, values: (_, splits) => splits.map((value) => format(value)) },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.label,
            stroke: color(line.color),
            width: 2,
            spanGaps: false,
            points: { show: false },
            ...(line.dashed ? { dash: [5, 4] } : {}),
          })),
        ],
        hooks: { setCursor: [({ cursor }) => setAt(cursor.idx ?? null)] },
      },
      latest.current,
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
    // The values of the lines are set by setData.
  }, [names, theme]);
  useEffect(() => plot.current?.setData(data), [data]);
  const shown = at !== null && at < times.length ? at : times.length - 1;
  const when = times[shown];
  const values = lines.map((line) => {
    const value = line.values[shown] ?? null;
    return { ...line, text: value === null ? '–' : format(value) };
  });
  const summary = values.map(({ label, text }) => `${label} ${text}`).join(', ');
  return (
    <figure class="card chart">
      <figcaption>
        <h3>{title}</h3>
        <p class="legend">
          {values.map(({ label, color, dashed, text }) => (
            <span key={label}>
              <i class={`key ${color} ${dashed ? 'dashed' : ''}`} />
              {label} <b>{text}</b>
            </span>
          ))}
          {when !== undefined && (
            <span class="dim">
              at{' '}
              {new Date(when).toLocaleString('en', {
                weekday: 'short',
                hour: '2-digit',
                minute: '2-digit',
                hourCycle: 'h23',
              })}
            </span>
          )}
        </p>
      </figcaption>
      <div ref={place} class="plot" role="img" aria-label={`${title}. Last: ${summary}`} />
    </figure>
  );
}
