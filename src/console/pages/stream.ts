import { ROOT } from './router';

/** Within how many ms a stream has to tell something: a proxy may hold it back. */
const FIRST_MS = 4_000;
/** After how many ms of silence a stream is taken for broken: each tells something at least every 13 s. */
const SILENCE_MS = 20_000;
/** How many streams in turn have to tell nothing until none is tried for some time, in ms. */
const MAX_SILENT = 2;
const WITHOUT_MS = 300_000;
/**
 * How many tabs of a browser have a stream at the same time. Over HTTP/1.1 a browser opens six connections to a
 * server at the most, and needs some for the rest; a tab that gets no place asks.
 */
const PLACES = 3;

let silent = 0;
let notBefore = 0;

/** What to do with an event of each kind. */
type Told = Readonly<Record<'data' | 'same' | 'failed', (text: string) => void>>;

/** Follows a stream of what a path has, until it ends; not at all where none comes through. */
export async function follow(path: string, told: Told, signal: AbortSignal): Promise<void> {
  if (performance.now() < notBefore) return;
  await withPlace(async () => {
    const isHeard = await listen(path.replace(/^api\//, 'api/live/'), told, signal);
    if (isHeard) silent = 0;
    else if (!signal.aborted) silent += 1;
    if (silent < MAX_SILENT) return;
    silent = 0;
    notBefore = performance.now() + WITHOUT_MS;
  });
}

/** @returns whether anything was told */
const listen = (path: string, told: Told, signal: AbortSignal): Promise<boolean> =>
  new Promise((resolve) => {
    if (signal.aborted) {
      resolve(false);
      return;
    }
    const source = new EventSource(new URL(path, ROOT));
    let isHeard = false;
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      source.close();
      resolve(isHeard);
    };
    let timer = setTimeout(end, FIRST_MS);
    for (const [type, tell] of Object.entries(told)) {
      source.addEventListener(type, ({ data }: MessageEvent<string>) => {
        isHeard = true;
        clearTimeout(timer);
        timer = setTimeout(end, SILENCE_MS);
        tell(data);
      });
    }
    // Also when it has ended: what comes next is asked for, which passes the guards and tells why not.
    source.addEventListener('error', end);
    signal.addEventListener('abort', end);
  });

/** Does it if there is a place for it. */
async function withPlace(work: () => Promise<void>): Promise<void> {
  // Only pages that came over a safe connection have locks: of the others, the one in which somebody types.
  if (!('locks' in navigator)) {
    if (document.hasFocus()) await work();
    return;
  }
  for (let place = 0; place < PLACES; place += 1) {
    const name = `frameforge:stream-${place}`;
    const isDone = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
      if (lock !== null) await work();
      return lock !== null;
    });
    if (isDone) return;
  }
}
