import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { go, withQuery } from './router';

/** The filters of a list. Their values are in the address of the page. */
export interface FilterProps {
  readonly page: string;
  readonly query: URLSearchParams;
}

/** How long to wait after a key before the filter changes, in ms. */
const TYPING_MS = 400;

/** A text that filters a list. */
export function TextFilter({
  page,
  query,
  name,
  label,
  placeholder,
}: FilterProps & { name: string; label: string; placeholder: string }): JSX.Element {
  const given = query.get(name) ?? '';
  const [text, setText] = useState(given);
  useEffect(() => setText(given), [given]);
  useEffect(() => {
    if (text === given) return undefined;
    const timer = setTimeout(() => go(withQuery(page, query, { [name]: text.trim() })), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <label>
      <span>{label}</span>
      <input
        type="search"
        value={text}
        placeholder={placeholder}
        onInput={(event) => setText(event.currentTarget.value)}
      />
    </label>
  );
}

/** A filter with a few values to choose from. */
export function ChoiceFilter({
  page,
  query,
  name,
  label,
  choices,
  clears = [],
}: FilterProps & {
  name: string;
  label: string;
  choices: readonly (readonly [value: string, label: string])[];
  /** Other filters that are cleared when this one changes. */
  clears?: readonly string[];
}): JSX.Element {
  return (
    <label>
      <span>{label}</span>
      <select
        value={query.get(name) ?? ''}
        onChange={(event) => {
          const cleared = Object.fromEntries(clears.map((other) => [other, '']));
          go(withQuery(page, query, { ...cleared, [name]: event.currentTarget.value }));
        }}
      >
        {choices.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A filter by time. It shows the reader's time zone. The address has the time in UTC. */
export function TimeFilter({
  page,
  query,
  name,
  label,
}: FilterProps & { name: string; label: string }): JSX.Element {
  const given = query.get(name);
  return (
    <label>
      <span>{label}</span>
      <input
        type="datetime-local"
        value={given === null ? '' : localText(new Date(given))}
        onChange={(event) => {
          const { value } = event.currentTarget;
          const time = value === '' ? '' : new Date(value).toISOString();
          go(withQuery(page, query, { [name]: time }));
        }}
      />
    </label>
  );
}

function localText(date: Date): string {
  if (Number.isNaN(date.getTime())) return '';
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16);
}

export const Filters = ({ children }: { children: ComponentChildren }): JSX.Element => (
  <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
    {children}
  </form>
);

/** The link to the next rows. The "back" button of the browser leads to the rows before. */
export function Pages({
  page,
  query,
  nextCursor,
  stoppedAt,
}: FilterProps & { nextCursor: string | null; stoppedAt: string | null }): JSX.Element {
  const isFirst = !query.has('cursor');
  return (
    <nav class="pages" aria-label="Pages of the list">
      {stoppedAt !== null && (
        <p class="dim">
          The search has looked at 19,950 rows, back to {new Date(stoppedAt).toLocaleString()}.
        </p>
      )}
      {!isFirst && (
        <a class="button" href={withQuery(page, query, {})} data-page>
          First page
        </a>
      )}
      {nextCursor !== null && (
        <a class="button" href={withQuery(page, query, { cursor: nextCursor })} data-page>
          {stoppedAt === null ? 'Next page' : 'Search on'}
        </a>
      )}
    </nav>
  );
}
