import type { BeforeApplicationShutdown, OnApplicationShutdown } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { reasonOf } from '../errors.text.js';
import { countCreatedJobs } from './job.metrics.js';
import { WakeUpSender } from './wake-up.sender.js';
import { whileWanted } from './while-wanted.js';
import type { Wanted } from './while-wanted.js';

const senders = new WeakMap<DataSource, Wanted<WakeUpSender>>();

/** Tells the world outside of this process what it puts into the queues, until the application ends. */
export class QueueAnnouncer implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly counting: () => void;
  private readonly wakeUps: { readonly running: WakeUpSender; end(): void } | undefined;

  /**
   * @param notifyWorkers - whether to wake the workers of other processes
   * @param warn - is told what could not be sent
   */
  constructor(dataSource: DataSource, notifyWorkers: boolean, warn: (message: string) => void) {
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

  /** What is pending is sent while the data source is open. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.wakeUps?.running.flush();
  }

  async onApplicationShutdown(): Promise<void> {
    this.counting();
    await this.wakeUps?.running.flush();
    this.wakeUps?.end();
  }
}
