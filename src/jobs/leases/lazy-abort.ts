/** Makes its `AbortController` only when the signal is first read, because most handlers never read it. */
export class LazyAbort {
  private controller: AbortController | undefined;
  private reason: Error | undefined;

  get aborted(): boolean {
    return this.reason !== undefined;
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.reason !== undefined) this.controller.abort(this.reason);
    }
    return this.controller.signal;
  }

  /** Only the first reason counts. */
  abort(reason: Error): void {
    this.reason ??= reason;
    this.controller?.abort(reason);
  }

  throwIfAborted(): void {
    if (this.reason !== undefined) throw this.reason;
  }
}
