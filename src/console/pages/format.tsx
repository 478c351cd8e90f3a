import type { JSX } from 'preact';
import type { BoundedCount } from './types';

const number = new Intl.NumberFormat('en');
const dateTime = new Intl.DateTimeFormat('en', {
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

/** Writes a count, such as `1,234`, or `10,000+`. */
export const countText = ({ count, more }: BoundedCount): string =>
  `${number.format(count)}${more ? '+' : ''}`;

export const numberText = (value: number): string => number.format(value);

const UNITS: [string, number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
];

/** Writes a time span in its two largest units, such as `3 h 12 min`. */
export function spanText(ms: number | null): string {
  if (ms === null) return '–';
  if (ms < 1_000) return `${Math.max(Math.round(ms), 0)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  const parts: string[] = [];
  let rest = ms;
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(' ');
}

/** Shows a time in the reader's zone. The pointer shows the exact time in UTC. */
export function Time({ at, ago = false }: { at: string | null; ago?: boolean }): JSX.Element {
  if (at === null) return <span class="dim">–</span>;
  const date = new Date(at);
  const past = Date.now() - date.getTime();
  const text =
    !ago || Math.abs(past) > 86_400_000
      ? dateTime.format(date)
      : past >= 0
        ? `${spanText(Math.max(past, 1_000)).replace(/\.\d/, '')} ago`
        : `in ${spanText(-past)}`;
  return (
    <time dateTime={at} title={`${at.replace('T', ' ').replace('Z', '')} UTC`}>
      {text}
    </time>
  );
}

/** Shows an address. It is a link if a browser may follow it, and otherwise text. */
export function Address({ url }: { url: string | null }): JSX.Element {
  if (url === null) return <span class="dim">–</span>;
  if (!/^https?:\/\//i.test(url)) return <code>{url}</code>;
  return (
    <a href={url} rel="noopener noreferrer nofollow" target="_blank">
      {url}
    </a>
  );
}

/** Shows the status of a job or a notification as a word, not only as a colour. */
export function Status({
  of,
  cancelled = false,
}: {
  of: string;
  cancelled?: boolean;
}): JSX.Element {
  const name = cancelled ? 'cancelled' : of;
  return <span class={`status ${name}`}>{name}</span>;
}
