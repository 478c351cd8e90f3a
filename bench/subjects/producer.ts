import type { JobService } from '../../dist/index.js';
import { videoOf } from './fixtures.ts';

/** Creates jobs at a steady rate, without waiting for answers. */
export class Producer {
  sent = 0;
  #failure: unknown;

  readonly #jobs: JobService;
  readonly #users: readonly string[];

  constructor(jobs: JobService, users: readonly string[]) {
    this.#jobs = jobs;
    this.#users = users;
  }

  /** Creates jobs until there are `count`. @throws the error of an earlier creation */
  sendUpTo(count: number): void {
    this.check();
    for (; this.sent < count; this.sent += 1) {
      this.#jobs.createJob(videoOf(this.#users)).catch((error: unknown) => {
        this.#failure = error;
      });
    }
  }

  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
