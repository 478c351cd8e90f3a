import type { DataSource } from 'typeorm';

/** Something that runs once for a data source, and the number of its users. */
export interface Wanted<T> {
  readonly running: T;
  count: number;
}

/**
 * Runs something once for a data source, however many modules of an application ask for it.
 *
 * @param all - everything that runs already
 * @param start - starts it for the first user
 * @param end - ends it when the last user has left
 */
export function whileWanted<T>(
  all: WeakMap<DataSource, Wanted<T>>,
  dataSource: DataSource,
  start: () => T,
  end: (running: T) => void,
): { readonly running: T; end(): void } {
  const wanted = all.get(dataSource) ?? { running: start(), count: 0 };
  all.set(dataSource, wanted);
  wanted.count += 1;
  let isOver = false;
  return {
    running: wanted.running,
    end: () => {
      if (isOver) return;
      isOver = true;
      wanted.count -= 1;
      if (wanted.count > 0) return;
      all.delete(dataSource);
      end(wanted.running);
    },
  };
}
