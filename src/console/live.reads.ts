import {
  defer,
  exhaustMap,
  finalize,
  map,
  merge,
  ReplaySubject,
  scan,
  share,
  startWith,
  Subject,
  switchMap,
  takeUntil,
  timer,
} from 'rxjs';
import type { MessageEvent } from '@nestjs/common';
import type { Observable } from 'rxjs';

/**
 * How long a stream lives, in ms. Then the page opens another stream, and the guards check it again. So a user
 * who has signed out sees nothing new after this time.
 */
export const STREAM_MS = 20_000;

/** The result of a read, or its error. */
export interface Look {
  readonly type: 'data' | 'failed';
  /** When the read began: by the database's clock, and by this process's clock if it failed. */
  readonly at: Date;
  /** The message to the page, as JSON. */
  readonly text: string;
}

/** The result of a read, and whether it differs from the result before. */
interface Seen extends Look {
  readonly isNew: boolean;
}

/**
 * The streams of the pages' data. Streams with the same data share one read. It is repeated while at least one of
 * these streams is open.
 */
export class LiveReads {
  private readonly shared = new Map<string, Observable<Seen>>();
  private readonly changes = new Subject<void>();
  private readonly over = new ReplaySubject<void>(1);

  /**
   * Returns a stream of events. The first comes at once. `data` comes when the data differ from the data before.
   * Otherwise `same` comes, so that the page knows that the stream is alive, and when the data were read. `failed`
   * comes when the data cannot be read.
   *
   * @param key - a text that names the data and all filters
   * @param look - reads the data; never rejects
   */
  watch(key: string, everyMs: number, look: () => Promise<Look>): Observable<MessageEvent> {
    return defer(() => this.shared.get(key) ?? this.begin(key, everyMs, look)).pipe(
      map(({ type, at, text, isNew }, index) =>
        isNew || index === 0 || type === 'failed'
          ? { type, data: `{"at":${JSON.stringify(at)},"${type}":${text}}` }
          : { type: 'same', data: `{"at":${JSON.stringify(at)}}` },
      ),
      takeUntil(merge(this.over, timer(STREAM_MS))),
    );
  }

  /** Reads all data again at once, because something was changed. */
  changed(): void {
    this.changes.next();
  }

  /** The number of repeated reads. */
  get size(): number {
    return this.shared.size;
  }

  /** Ends all streams, also later ones, because a server that closes waits for its open answers. */
  close(): void {
    this.over.next();
  }

  private begin(key: string, everyMs: number, look: () => Promise<Look>): Observable<Seen> {
    const stream = this.changes.pipe(
      startWith(undefined),
      // A change drops the read that goes on, because that read may have begun before the change.
      switchMap(() =>
        timer(0, everyMs).pipe(
          // While a read goes on, the timer begins no other read.
          exhaustMap(look),
        ),
      ),
      scan<Look, Seen | undefined>(
        (last, now) => ({ ...now, isNew: now.type !== last?.type || now.text !== last.text }),
        undefined,
      ),
      map((seen) => seen as Seen),
      finalize(() => this.shared.delete(key)),
      // A stream that comes later gets the last result at once.
      share({ connector: () => new ReplaySubject<Seen>(1) }),
    );
    this.shared.set(key, stream);
    return stream;
  }
}
