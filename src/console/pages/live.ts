import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { AnswerError, isRefusal, requestAt } from './api';
import type { Answer } from './api';
import { follow } from './stream';

const MAX_WAIT_MS = 10_000;
/** Pages with this interval or a shorter one use a stream, in ms. Pages with a longer interval use requests. */
const STREAMED_MS = 10_000;

/** The data of a page, and their state. */
export interface Live<T> {
  readonly data: T | undefined;
  /** Why `data` could not be refreshed. */
  readonly error: Error | undefined;
  /** When `data` was read, by the database's clock. */
  readonly at: Date | undefined;
  /** Reads at once. */
  readonly refresh: () => void;
}

type State<T> = Omit<Live<T>, 'refresh'> & { readonly path: string };

/**
 * Reads the data of a page. Then a stream of the server brings the changes. If no stream comes through, it reads again
 * and again. While the tab is hidden it does neither. While the server is away, the data stay. When a guard refuses
 * the user, the data are removed.
 *
 * @param everyMs - 0 to read once
 */
export function useLive<T>(path: string, everyMs: number): Live<T> {
  const [state, setState] = useState<State<T>>();
  const wake = useRef<() => void>(() => {});
  useEffect(() => {
    const over = new AbortController();
    let round = new AbortController();
    const ring = (): void => round.abort();
    const show = ({ at, data }: Answer<T>): void => {
      if (!over.signal.aborted) setState({ path, data, error: undefined, at: new Date(at) });
    };
    const keep = (changes: Partial<State<T>>): void => {
      if (over.signal.aborted) return;
      setState((old) => {
        const { data, error, at } = old?.path === path ? old : ({} as Partial<State<T>>);
        return { path, data, error, at, ...changes };
      });
    };
    const read = async (): Promise<boolean> => {
      try {
        show(await requestAt<T>(path));
        return true;
      } catch (error) {
        // A user who has signed out sees nothing more, not even the earlier data.
        keep({
          error: error as Error,
          ...(isRefusal(error) && { data: undefined, at: undefined }),
        });
        return false;
      }
    };
    const told = {
      data: (text: string) => show(JSON.parse(text) as Answer<T>),
      same: (text: string) => {
        keep({ error: undefined, at: new Date((JSON.parse(text) as { at: string }).at) });
      },
      failed: (text: string) => {
        const { failed } = JSON.parse(text) as { failed: { statusCode: number; message: string } };
        keep({ error: new AnswerError(failed.statusCode, failed.message) });
      },
    };
    const live = async (): Promise<void> => {
      for (let failures = 0; !over.signal.aborted; round = new AbortController()) {
        const { signal } = round;
        if (document.hidden) {
          await pause(Infinity, signal);
          continue;
        }
        const begin = performance.now();
        failures = (await read()) ? 0 : failures + 1;
        if (failures === 0 && everyMs > 0 && everyMs <= STREAMED_MS && !document.hidden) {
          await follow(path, told, signal);
        }
        const wait = failures > 0 ? Math.min(1_000 * 2 ** failures, MAX_WAIT_MS) : everyMs;
        // After a stream that was open for long, the next stream begins at once.
        await pause(wait === 0 ? Infinity : wait - (performance.now() - begin), signal);
      }
    };
    wake.current = ring;
    document.addEventListener('visibilitychange', ring);
    void live();
    return () => {
      over.abort();
      ring();
      document.removeEventListener('visibilitychange', ring);
    };
  }, [path, everyMs]);
  const refresh = useCallback(() => wake.current(), []);
  // Data of another address are not shown here.
  const { data, error, at } = state?.path === path ? state : {};
  return { data, error, at, refresh } as Live<T>;
}

/** Waits for some time, or until there is something to do. */
const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted || ms <= 0) {
      resolve();
      return;
    }
    const timer = ms === Infinity ? undefined : setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
