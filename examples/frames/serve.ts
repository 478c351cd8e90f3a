import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import type { Settings } from './app.module.js';

/** Serves the page until somebody presses Ctrl-C. */
export async function serve(settings: Settings): Promise<void> {
  const app = await NestFactory.create(AppModule.with(settings), {
    logger: ['warn', 'error'],
    // Browsers open connections in advance, and a server would wait for them when it closes.
    forceCloseConnections: true,
  });
  try {
    await app.listen(process.env['PORT'] ?? 3000, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    process.stdout.write(`http://127.0.0.1:${port}\n`);
    await Promise.race(['SIGINT', 'SIGTERM'].map((signal) => once(process, signal)));
  } finally {
    await app.close();
  }
}
