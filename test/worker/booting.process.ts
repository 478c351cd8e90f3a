// A service with a worker. Its database may go away between the two steps of its start.
import { Injectable, Module } from '@nestjs/common';
import type { LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { FrameForgeWorkerModule, VideoJobProcessor } from '../../src/worker/index.js';

const log =
  (level: string) =>
  (text: unknown): void =>
    void process.send?.({ level, text: String(text) });
const logger: LoggerService = { log: () => {}, warn: log('warn'), error: log('error') };

@Injectable()
@VideoJobProcessor()
class Extractor {
  async process() {
    return { resultUrl: 's3://frames/1.zip', frameCount: 3 };
  }
}

@Module({
  imports: [
    FrameForgeDatabaseModule.forRoot({ url: process.env['DATABASE_URL'] }),
    FrameForgeWorkerModule.forRoot(),
  ],
  providers: [Extractor],
})
class Service {}

const app = await NestFactory.create(Service, { logger });
app.enableShutdownHooks();
process.send?.('created');
process.once('message', () => {
  void app.init().then(() => process.send?.('started'));
  process.send?.('starting');
});
process.on('disconnect', () => process.exit());
