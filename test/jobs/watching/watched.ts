import type { Observable, Subscription } from 'rxjs';
import type { JobView } from '../../../src/jobs/job.view.js';

/** The events of a stream of jobs so far. */
export class Watched {
  readonly told: JobView[] = [];
  isOver = false;
  error: unknown;
  private readonly subscription: Subscription;

  constructor(stream: Observable<JobView>) {
    this.subscription = stream.subscribe({
      next: (view) => void this.told.push(view),
      error: (error: unknown) => {
        this.error = error;
        this.isOver = true;
      },
      complete: () => {
        this.isOver = true;
      },
    });
  }

  /** Each state, such as `processing 50`. */
  get states(): string[] {
    return this.told.map(({ status, progress }) => `${status} ${progress}`);
  }

  leave(): void {
    this.subscription.unsubscribe();
  }
}
