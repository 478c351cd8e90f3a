import { randomUUID } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { JobService, toJobView } from '@frameforge/shared-types';
import type { JobView } from '@frameforge/shared-types';
import {
  Controller,
  Get,
  Header,
  NotFoundException,
  Param,
  Post,
  Query,
  Req,
  Sse,
  StreamableFile,
} from '@nestjs/common';
import { map } from 'rxjs';
import type { Observable } from 'rxjs';
import { Storage } from './storage.js';
import { Visitor } from './visitor.js';

const PAGE = readFileSync(new URL('page.html', import.meta.url), 'utf8');

/** A page on which a visitor uploads videos, sees them being processed, cancels, and downloads. */
@Controller()
export class VideosController {
  constructor(
    private readonly jobs: JobService,
    private readonly storage: Storage,
    private readonly visitor: Visitor,
  ) {}

  @Get()
  @Header('content-type', 'text/html; charset=utf-8')
  page(): string {
    return PAGE;
  }

  /** The body is the video. */
  @Post('videos')
  async upload(
    @Query('filename') filename: string,
    @Req() request: IncomingMessage,
  ): Promise<JobView> {
    const userId = await this.visitor.userId();
    const videoUrl = await this.storage.put(`${randomUUID()}.upload`, request);
    return toJobView(await this.jobs.createJob({ userId, filename, videoUrl }));
  }

  /** The state of each of the visitor's jobs, and every change of it. */
  @Sse('jobs')
  async events(): Promise<Observable<{ data: JobView }>> {
    const userId = await this.visitor.userId();
    return this.jobs.watchJobs({ userId }).pipe(map((data) => ({ data })));
  }

  @Post('jobs/:jobId/cancel')
  async cancel(@Param('jobId') jobId: string): Promise<JobView> {
    const userId = await this.visitor.userId();
    return toJobView(await this.jobs.cancelJob(jobId, { userId, reason: 'by its owner' }));
  }

  @Get('jobs/:jobId/frames')
  async frames(@Param('jobId') jobId: string): Promise<StreamableFile> {
    const userId = await this.visitor.userId();
    const { resultUrl, filename } = await this.jobs.getJob(jobId, { userId });
    if (resultUrl === null) throw new NotFoundException(`The frames are not extracted yet.`);
    const name = encodeURIComponent(`${filename}.zip`);
    return new StreamableFile(createReadStream(this.storage.get(resultUrl)), {
      type: 'application/zip',
      disposition: `attachment; filename*=UTF-8''${name}`,
    });
  }
}
