// Boots an application, reports the time from the start of the process until then, and ends.
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

/** @param imports - the modules that are compared */
export async function bootApplication(imports) {
  const imported = performance.now();
  class AppModule {}
  Module({ imports })(AppModule);
  const app = await NestFactory.createApplicationContext(AppModule, {
    logger: ['error'],
    abortOnError: false,
  });
  const ready = performance.now();
  process.send({ readyMs: ready, applicationMs: ready - imported });
  await app.close();
  process.disconnect();
}
