import { randomUUID } from 'node:crypto';
import {
  InjectJobService,
  InjectUserService,
  JobService,
  User,
  UserService,
} from '@frameforge/shared-types';
import type { CreateJobInput, JobPage, JobStatus, VideoJob } from '@frameforge/shared-types';
import { Injectable } from '@nestjs/common';
import { SHARDS, shardOf } from './shards.js';
import type { Shard } from './shards.js';

/** A user who registers. */
interface Registration {
  readonly username: string;
  readonly email: string;
  readonly passwordHash: string;
}

/**
 * Routes each user to one database. All that belongs to a user is there: the row of the user, the jobs and
 * their notifications. So every call names the user, and no transaction spans two databases.
 */
@Injectable()
export class ShardedJobs {
  private readonly jobs: Readonly<Record<Shard, JobService>>;
  private readonly users: Readonly<Record<Shard, UserService>>;

  constructor(
    @InjectJobService('east') eastJobs: JobService,
    @InjectJobService('west') westJobs: JobService,
    @InjectUserService('east') eastUsers: UserService,
    @InjectUserService('west') westUsers: UserService,
  ) {
    this.jobs = { east: eastJobs, west: westJobs };
    this.users = { east: eastUsers, west: westUsers };
  }

  /** The id comes first, because it says where the user lives. */
  async register(registration: Registration): Promise<User> {
    const userId = randomUUID();
    const repository = this.users[shardOf(userId)].dataSource.getRepository(User);
    return repository.save(repository.create({ userId, ...registration }));
  }

  createJob(input: CreateJobInput): Promise<VideoJob> {
    return this.jobs[shardOf(input.userId)].createJob(input);
  }

  getJob(userId: string, jobId: string): Promise<VideoJob> {
    return this.jobs[shardOf(userId)].getJob(jobId, { userId });
  }

  listJobs(userId: string): Promise<JobPage> {
    return this.jobs[shardOf(userId)].listJobs({ userId });
  }

  /** Counts the jobs of all users, for which it asks all databases. */
  async countJobs(): Promise<Record<JobStatus, number>> {
    const counts = await Promise.all(SHARDS.map((shard) => this.jobs[shard].countJobs()));
    const sum = { pending: 0, processing: 0, completed: 0, failed: 0 };
    for (const one of counts) {
      for (const status of Object.keys(sum) as JobStatus[]) sum[status] += one[status];
    }
    return sum;
  }
}
