import type { BeforeApplicationShutdown, OnApplicationShutdown } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { reasonOf } from '../errors.text.js';
import { countCreatedJobs } from './job.metrics.js';
import { WakeUpSender } from './wake-up.sender.js';
import { letWatchersListen } from './watching/change.listener.js';
import { beginWatching, endWatching } from './watching/watching.js';
import { whileWanted } from './while-wanted.js';
import type { Wanted } from './while-wanted.js';

const senders = new WeakMap<DataSource, Wanted<WakeUpSender>>();

/** Tells other processes when this process puts work into the queues, until the application ends. */
export class QueueAnnouncer implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly counting: () => void;
  private readonly wakeUps: { readonly running: WakeUpSender; end(): void } | undefined;

  /**
   * @param notifyWorkers - whether to tell other processes
   * @param listen - whether watchers of jobs here listen to other processes
   * @param warn - gets a message when something could not be sent or received
   */
  constructor(
    private readonly dataSource: DataSource,
    { notifyWorkers, listen }: { notifyWorkers: boolean; listen: boolean },
    warn: (message: string) => void,
  ) {
    beginWatching(dataSource);
    if (listen) {
      letWatchersListen(dataSource, (error) => {
        warn(`Changes of jobs in other processes are seen a second late: ${reasonOf(error)}`);
      });
    }
    this.counting = countCreatedJobs(dataSource, (error) => {
      warn(`The jobs that are created here are not counted by OpenTelemetry: ${reasonOf(error)}`);
    });
    if (!notifyWorkers) return;
    const start = (): WakeUpSender =>
      new WakeUpSender(dataSource, (error) => {
        warn(
          `Other processes could not be told of new work, and find it by polling: ${reasonOf(error)}`,
        );
      });
    this.wakeUps = whileWanted(senders, dataSource, start, (sender) => sender.end());
  }

  /** Sends the pending messages while the data source is still open. */
  async beforeApplicationShutdown(): Promise<void> {
    // Ends the streams of watched jobs, because an HTTP server waits for its open responses.
    endWatching(this.dataSource);
    await this.wakeUps?.running.flush();
  }

  async onApplicationShutdown(): Promise<void> {
    this.counting();
    await this.wakeUps?.running.flush();
    this.wakeUps?.end();
  }
}
