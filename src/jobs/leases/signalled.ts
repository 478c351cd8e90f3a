import type { LazyAbort } from './lazy-abort.js';

/**
 * Has the signal of a lease, which is made when it is first read. The getter is on the prototype. In an object
 * literal each getter is a function of its own, so V8 gives each object a hidden class of its own. Hidden classes
 * are old objects from the beginning, and would keep the job in memory until a full garbage collection.
 */
export class Signalled {
  readonly #abort: LazyAbort;

  constructor(abort: LazyAbort) {
    this.#abort = abort;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }
}
