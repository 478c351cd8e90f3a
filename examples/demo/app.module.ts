import { FrameForgeDatabaseModule } from '@frameforge/shared-types';
import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { UploadService } from './upload.service.js';

/** An application that adopts the package. An ordinary one needs `forRoot()` and DATABASE_URL only. */
@Module({ providers: [UploadService] })
export class AppModule {
  static on({ url, schema }: { url: string; schema: string }): DynamicModule {
    return { module: AppModule, imports: [FrameForgeDatabaseModule.forRoot({ url, schema })] };
  }
}
