import { ROOT } from './router';

/** How long to wait for an answer, in ms. */
const PATIENCE_MS = 15_000;

/** The server answered with an error. */
export class AnswerError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Whether a guard of the application has refused the request. */
export const isRefusal = (error: unknown): boolean =>
  error instanceof AnswerError && (error.status === 401 || error.status === 403);

async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await fetch(new URL(path, ROOT), {
    ...init,
    headers: { accept: 'application/json', ...init.headers },
    // A request that changes rows has no time limit.
    signal: init.method === 'POST' ? null : AbortSignal.timeout(PATIENCE_MS),
  });
  const body = (await response.json().catch((error: unknown) => {
    // An answer that is no JSON does not come from the console. It is a sign-in page after a redirect.
    if (error instanceof SyntaxError && response.ok) throw new AnswerError(401, 'Unauthorized');
    if (response.ok) throw error;
    return {};
  })) as { message?: unknown };
  if (response.ok) return body as T;
  throw new AnswerError(response.status, String(body.message ?? response.statusText));
}

/** The data of an answer, and when they were read, by the database's clock. */
export interface Answer<T> {
  readonly at: string;
  readonly data: T;
}

/** Reads the data of a page. */
export const requestAt = <T>(path: string): Promise<Answer<T>> => request(path);

/** The outcome of an action on one row. */
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

/** The filter of a list, for an action on all rows that match it. */
export interface Matching {
  readonly user?: string;
  readonly status?: string;
  readonly from?: string;
  readonly to?: string;
  /** When the list was shown, in ms since 1970. */
  readonly at: number;
  /** How many rows were counted. */
  readonly limit?: number;
}

/** Changes all rows that match, or only counts them. */
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

/** The filter of a list for an action; undefined if an action cannot have this filter. */
export function matchingOf(query: URLSearchParams, at: Date | undefined): Matching | undefined {
  if (query.has('text') || query.has('order') || at === undefined) return undefined;
  const names = ['user', 'status', 'from', 'to'] as const;
  const given = names.flatMap((name) => {
    const value = query.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(given), at: at.getTime() };
}
