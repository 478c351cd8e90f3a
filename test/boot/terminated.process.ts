// A service that gets a signal to end while it boots on a database that does not answer.
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { FrameForgeWorkerModule, VideoJobProcessor } from '../../src/worker/index.js';

const options = { url: process.env['DATABASE_URL'] };

@Injectable()
@VideoJobProcessor()
class Extractor {
  async process() {
    return { resultUrl: 's3://frames/1.zip', frameCount: 3 };
  }
}

@Module({
  imports: {
    forRoot: () => [FrameForgeDatabaseModule.forRoot(options)],
    forRootAsync: () => [
      FrameForgeDatabaseModule.forRootAsync({ useFactory: async () => options }),
    ],
    worker: () => [FrameForgeDatabaseModule.forRoot(options), FrameForgeWorkerModule.forRoot()],
  }[process.argv[2] as 'forRoot' | 'forRootAsync' | 'worker'](),
  providers: process.argv[2] === 'worker' ? [Extractor] : [],
})
class Service {}

for (const event of ['unhandledRejection', 'uncaughtException']) {
  process.on(event, (error) => process.send?.({ unexpected: String(error) }));
}
process.on('disconnect', () => process.exit());
const warn = (text: unknown): void => void process.send?.({ waiting: String(text) });
process.send?.('booting');
const app = await NestFactory.create(Service, {
  logger: { log: () => {}, warn, error: (text) => process.send?.({ unexpected: String(text) }) },
});
app.enableShutdownHooks();
await app.listen(0, '127.0.0.1');
process.send?.({ unexpected: 'it has booted' });
