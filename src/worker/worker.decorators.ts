import { DiscoveryService } from '@nestjs/core';
import type { NotificationHandler, VideoJobHandler } from './worker.types.js';

/** What the decorators take. */
export interface HandlerOptions {
  /** How many run at once in this process. Default 1. */
  readonly concurrency?: number;
}

const processor = DiscoveryService.createDecorator<HandlerOptions>();
const deliverer = DiscoveryService.createDecorator<HandlerOptions>();

/**
 * Marks the provider that processes video jobs. One in an application.
 *
 * @param options - `concurrency`: how many jobs run at once in this process (default 1)
 */
export function VideoJobProcessor(
  options: HandlerOptions = {},
): <T extends new (...args: never[]) => VideoJobHandler>(target: T) => void {
  return (target) => processor(options)(target);
}

/**
 * Marks the provider that delivers notifications. One in an application.
 *
 * @param options - `concurrency`: how many deliveries run at once in this process (default 1)
 */
export function NotificationDeliverer(
  options: HandlerOptions = {},
): <T extends new (...args: never[]) => NotificationHandler>(target: T) => void {
  return (target) => deliverer(options)(target);
}

/** A decorated provider, found at boot. */
export interface FoundHandler<T> {
  readonly handler: T;
  readonly name: string;
  readonly concurrency: number;
}

/** Finds the decorated providers of an application. */
export function findHandlers(discovery: DiscoveryService): {
  processors: FoundHandler<VideoJobHandler>[];
  deliverers: FoundHandler<NotificationHandler>[];
} {
  const find = <T>(decorator: typeof processor): FoundHandler<T>[] =>
    discovery
      .getProviders({ metadataKey: decorator.KEY })
      .filter(({ instance }) => instance !== undefined && instance !== null)
      .map((wrapper) => ({
        handler: wrapper.instance as T,
        name: wrapper.metatype?.name ?? String(wrapper.name),
        concurrency: discovery.getMetadataByDecorator(decorator, wrapper)?.concurrency ?? 1,
      }));
  return { processors: find(processor), deliverers: find(deliverer) };
}
