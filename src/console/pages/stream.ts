import { ROOT } from './router';

/** A stream must bring its first event within this time, in ms. Otherwise a proxy may hold it back. */
const FIRST_MS = 4_000;
/** A stream without an event for this time counts as broken, in ms. The server sends one at least every 13 s. */
const SILENCE_MS = 20_000;
/** After this many streams in turn without an event, the page tries no stream for `WITHOUT_MS`. */
const MAX_SILENT = 2;
const WITHOUT_MS = 300_000;
/**
 * How many tabs of a browser may have a stream at once. Over HTTP/1.1 a browser opens at most six connections to a
 * server, and needs some of them for requests. A tab without a stream uses requests.
 */
const PLACES = 3;

let silent = 0;
let notBefore = 0;

/** A callback for each kind of event. */
type Told = Readonly<Record<'data' | 'same' | 'failed', (text: string) => void>>;

/** Follows the stream of a path until it ends. Returns at once if streams do not come through. */
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

/** Listens to a stream until it ends. @returns whether an event came */
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
    // This event also comes when the stream has ended. Then the page sends a request, and sees whether a guard refuses.
    source.addEventListener('error', end);
    signal.addEventListener('abort', end);
  });

/** Does work if one of the places is free. */
async function withPlace(work: () => Promise<void>): Promise<void> {
  // Only pages of a secure connection have locks. On others, only the tab that has the focus has a stream.
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
