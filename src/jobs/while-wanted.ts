import type { DataSource } from 'typeorm';

/** What runs once for a data source, and how many want it. */
export interface Wanted<T> {
  readonly running: T;
  count: number;
}

/**
 * Runs something once for a data source, however many modules of an application ask for it.
 *
 * @param all - what runs already
 * @param start - begins it, for the first who asks
 * @param end - is given it when the last one does not want it any more
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
