import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ROOT } from './router';

/** How long, in ms, an answer is waited for. */
const PATIENCE_MS = 15_000;
const MAX_WAIT_MS = 10_000;

/** What the server answered instead of what was asked for. */
export class AnswerError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const request = async <T>(path: string, init?: RequestInit): Promise<T> =>
  (await requestAt<T>(path, init))[0];

/** @returns the answer, and when it was sent, by the server's clock */
async function requestAt<T>(path: string, init: RequestInit = {}): Promise<[T, Date]> {
  const response = await fetch(new URL(path, ROOT), {
    ...init,
    headers: { accept: 'application/json', ...init.headers },
    // What changes rows is waited for until it is done.
    signal: init.method === 'POST' ? null : AbortSignal.timeout(PATIENCE_MS),
  });
  const body = (await response.json().catch((error: unknown) => {
    // What is no JSON is no answer of the console: a page to sign in at, after a redirect.
    if (error instanceof SyntaxError && response.ok) throw new AnswerError(401, 'Unauthorized');
    if (response.ok) throw error;
    return {};
  })) as { message?: unknown };
  const date = new Date(response.headers.get('date') ?? Date.now());
  if (response.ok) return [body as T, date];
  throw new AnswerError(response.status, String(body.message ?? response.statusText));
}

/** What became of an action on one row. */
export interface ActionResult {
  readonly id: string;
  readonly refusal: string | null;
}

/** Changes some jobs or notifications. */
export const act = (action: string, ids: readonly string[]): Promise<{ results: ActionResult[] }> =>
  request(`api/actions/${action}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ids }),
  });

/** Which rows are meant where all that match are. */
export interface Matching {
  readonly user?: string;
  readonly status?: string;
  readonly from?: string;
  readonly to?: string;
  /** When the list was shown, in ms since 1970. */
  readonly at: number;
  /** How many were counted. */
  readonly limit?: number;
}

/** Changes all that match, or only counts them. */
export const actOnAll = (
  action: string,
  matching: Matching,
  dryRun: boolean,
): Promise<{ matched: number; changed: number }> =>
  request(`api/actions/${action}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ matching, dryRun }),
  });

/** What a list is filtered by, if an action can have that; undefined if not. */
export function matchingOf(query: URLSearchParams, at: Date | undefined): Matching | undefined {
  if (query.has('text') || query.has('order') || at === undefined) return undefined;
  const names = ['user', 'status', 'from', 'to'] as const;
  const given = names.flatMap((name) => {
    const value = query.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(given), at: at.getTime() };
}

/** What a page shows. */
export interface Live<T> {
  readonly data: T | undefined;
  /** Why `data` is not of this moment. */
  readonly error: Error | undefined;
  /** When `data` was read, by the server's clock. */
  readonly at: Date | undefined;
  /** Reads at once. */
  readonly refresh: () => void;
}

/**
 * Reads again and again while the tab is seen; hidden, it reads nothing. What was read stays while the server
 * is away.
 *
 * @param everyMs - 0 to read once
 */
export function useLive<T>(path: string, everyMs: number): Live<T> {
  const [state, setState] = useState<Omit<Live<T>, 'refresh'> & { path: string }>();
  const wake = useRef<() => void>(() => {});
  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let failures = 0;
    let reading = false;
    const read = async (): Promise<void> => {
      clearTimeout(timer);
      if (over || reading || document.hidden) return;
      reading = true;
      try {
        const [data, at] = await requestAt<T>(path);
        failures = 0;
        if (!over) setState({ path, data, error: undefined, at });
      } catch (error) {
        failures += 1;
        if (!over) {
          setState((old) => ({
            path,
            data: old?.path === path ? old.data : undefined,
            at: old?.path === path ? old.at : undefined,
            error: error as Error,
          }));
        }
      }
      reading = false;
      const wait = failures === 0 ? everyMs : Math.min(1_000 * 2 ** failures, MAX_WAIT_MS);
      if (!over && wait > 0) timer = setTimeout(read, wait);
    };
    wake.current = () => void read();
    const onVisible = (): void => void read();
    document.addEventListener('visibilitychange', onVisible);
    void read();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', onVisible);
    };
  }, [path, everyMs]);
  const refresh = useCallback(() => wake.current(), []);
  // What is kept of another address is not shown under this one.
  const { data, error, at } = state?.path === path ? state : {};
  return { data, error, at, refresh } as Live<T>;
}
