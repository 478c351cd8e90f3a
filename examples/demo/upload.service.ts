import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { JobService, User, VideoJob } from '@frameforge/shared-types';
import { DataSource, Repository } from 'typeorm';

/** An example of a service that uses the package. */
@Injectable()
export class UploadService {
  constructor(
    private readonly jobs: JobService,
    private readonly dataSource: DataSource,
    @InjectRepository(User) private readonly users: Repository<User>,
  ) {}

  register(username: string): Promise<User> {
    const user = this.users.create({
      username,
      email: `${username}@example.com`,
      passwordHash: '$argon2id$v=19$…',
    });
    return this.users.save(user);
  }

  upload(userId: string, filename: string): Promise<VideoJob> {
    return this.jobs.createJob({ userId, filename, videoUrl: `s3://uploads/${filename}` });
  }

  /** Creates the jobs for all videos or for none: the same transaction records the payment. */
  uploadPaid(
    userId: string,
    filenames: readonly string[],
    pay: () => Promise<void>,
  ): Promise<VideoJob[]> {
    return this.dataSource.transaction(async (manager) => {
      const jobs: VideoJob[] = [];
      for (const filename of filenames) {
        const input = { userId, filename, videoUrl: `s3://uploads/${filename}` };
        jobs.push(await this.jobs.createJob(input, { manager }));
      }
      await pay();
      return jobs;
    });
  }
}
