import {
  defer,
  exhaustMap,
  finalize,
  map,
  merge,
  ReplaySubject,
  scan,
  share,
  Subject,
  takeUntil,
  timer,
} from 'rxjs';
import type { MessageEvent } from '@nestjs/common';
import type { Observable } from 'rxjs';

/**
 * How long, in ms, a stream lives. Its page opens another one then, which passes the guards anew: who has signed
 * out sees nothing more after this time.
 */
export const STREAM_MS = 20_000;

/** What a read has found, or how it failed. */
export interface Look {
  readonly type: 'data' | 'failed';
  /** When the read began. */
  readonly at: Date;
  /** What to tell, as JSON. */
  readonly text: string;
}

/** A look, and whether it differs from the one before. */
interface Seen extends Look {
  readonly isNew: boolean;
}

/**
 * Streams of what pages show. All that show the same have one read in common, which is repeated while there is
 * one of them.
 */
export class LiveReads {
  private readonly shared = new Map<string, Observable<Seen>>();
  private readonly changes = new Subject<void>();
  private readonly over = new ReplaySubject<void>(1);

  /**
   * Events, the first of them at once: `data` when it differs from what was told before, else `same`, so that
   * the page knows that the stream is alive, and of which time its data are; `failed` when it can't be read.
   *
   * @param key - says what is read, with all of its filters
   * @param look - reads it; never rejects
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

  /** Something was changed: it is told at once. */
  changed(): void {
    this.changes.next();
  }

  /** How many reads are repeated. */
  get size(): number {
    return this.shared.size;
  }

  /** Ends all streams, and those that come later: a server that closes waits for its answers. */
  close(): void {
    this.over.next();
  }

  private begin(key: string, everyMs: number, look: () => Promise<Look>): Observable<Seen> {
    const stream = merge(timer(0, everyMs), this.changes).pipe(
      // A read that takes long is not overtaken by the next one.
      exhaustMap(look),
      scan<Look, Seen | undefined>(
        (last, now) => ({ ...now, isNew: now.type !== last?.type || now.text !== last.text }),
        undefined,
      ),
      map((seen) => seen as Seen),
      finalize(() => this.shared.delete(key)),
      // Who comes later is told at once what was seen last.
      share({ connector: () => new ReplaySubject<Seen>(1) }),
    );
    this.shared.set(key, stream);
    return stream;
  }
}
