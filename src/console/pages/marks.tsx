import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

/** Which rows of a list are marked. */
export interface Marks {
  readonly ids: readonly string[];
  readonly marked: readonly string[];
  readonly mark: (id: string, on: boolean) => void;
  readonly markAll: (on: boolean) => void;
}

/** Marks rows of a list; rows that are gone are not marked any more. */
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

/** The cell of a row that marks it. */
export const MarkCell = ({
  marks: { marked, mark },
  id,
  label,
}: {
  marks: Marks;
  id: string;
  /** What the row is, such as the name of a file. */
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

/** The cell above those, which marks all. */
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
