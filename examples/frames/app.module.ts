import { FrameForgeDatabaseModule, FrameForgeExceptionFilter } from '@frameforge/shared-types';
import { FrameForgeWorkerModule } from '@frameforge/shared-types/worker';
import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { createTransport } from 'nodemailer';
import { APP_FILTER } from '@nestjs/core';
import { FrameExtractor } from './frame.extractor.js';
import { Mailer, MAIL_TRANSPORT } from './mailer.js';
import { Storage } from './storage.js';
import { VideosController } from './videos.controller.js';
import { Visitor } from './visitor.js';

/** The settings that an ordinary application reads from its environment. */
export interface Settings {
  readonly database: { readonly url: string; readonly schema: string };
  readonly smtpUrl: string;
  readonly storageFolder: string;
}

/** The worker module finds the extractor and the mailer by their decorators, and runs them. */
@Module({})
export class AppModule {
  static with({ database: { url, schema }, smtpUrl, storageFolder }: Settings): DynamicModule {
    return {
      module: AppModule,
      imports: [
        FrameForgeDatabaseModule.forRoot({ url, schema }),
        FrameForgeWorkerModule.forRoot(),
      ],
      controllers: [VideosController],
      providers: [
        Visitor,
        { provide: APP_FILTER, useClass: FrameForgeExceptionFilter },
        FrameExtractor,
        Mailer,
        { provide: Storage, useValue: new Storage(storageFolder) },
        { provide: MAIL_TRANSPORT, useValue: createTransport(smtpUrl) },
      ],
    };
  }
}
