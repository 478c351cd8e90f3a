import type { OnApplicationShutdown } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { reasonOf } from '../errors.js';
import { countCreatedJobs } from './job.metrics.js';
import { sendWakeUps } from './wake-up.sender.js';

/** Tells the world outside of this process what it puts into the queues, until the application ends. */
export class QueueAnnouncer implements OnApplicationShutdown {
  private constructor(private readonly ends: readonly (() => void)[]) {}

  /**
   * @param notifyWorkers - whether to wake the workers of other processes
   * @param warn - is told what could not be sent
   */
  static start(
    dataSource: DataSource,
    notifyWorkers: boolean,
    warn: (message: string) => void,
  ): QueueAnnouncer {
    const counting = countCreatedJobs(dataSource, (error) => {
      warn(`The jobs that are created here are not counted by OpenTelemetry: ${reasonOf(error)}`);
    });
    const ends = [counting];
    if (notifyWorkers) {
      const end = sendWakeUps(dataSource, (error) => {
        warn(
          `Other processes could not be told of new work, and find it by polling: ${reasonOf(error)}`,
        );
      });
      ends.push(end);
    }
    return new QueueAnnouncer(ends);
  }

  onApplicationShutdown(): void {
    for (const end of this.ends) end();
  }
}
