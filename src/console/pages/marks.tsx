import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

/** The marked rows of a list. */
export interface Marks {
  readonly ids: readonly string[];
  readonly marked: readonly string[];
  readonly mark: (id: string, on: boolean) => void;
  readonly markAll: (on: boolean) => void;
}

/** Keeps the marks of a list. A row that leaves the list loses its mark. */
export function useMarks(ids: readonly string[]): Marks {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const marked = ids.filter((id) => chosen.has(id));
  return {
    ids,
    marked,
    mark: (id, on) => {
      const next = new Set(chosen);
      if (on) next.add(id);
      else next.delete(id);
      setChosen(next);
    },
    markAll: (on) => setChosen(new Set(on ? ids : [])),
  };
}

/** The cell with the box that marks a row. */
export const MarkCell = ({
  marks: { marked, mark },
  id,
  label,
}: {
  marks: Marks;
  id: string;
  /** A text for the row, such as the name of a file. */
  label: string;
}): JSX.Element => (
  <td>
    <input
      type="checkbox"
      aria-label={`Mark ${label}`}
      checked={marked.includes(id)}
      onChange={(event) => mark(id, event.currentTarget.checked)}
    />
  </td>
);

/** The cell in the head of the table with the box that marks all rows. */
export const MarkAllCell = ({ marks: { ids, marked, markAll } }: { marks: Marks }): JSX.Element => (
  <th scope="col">
    <input
      type="checkbox"
      aria-label="Mark all of this page"
      checked={marked.length === ids.length}
      onChange={(event) => markAll(event.currentTarget.checked)}
    />
  </th>
);
