import { DiscoveryService } from '@nestjs/core';
import { ConfigurationError } from '../errors.js';
import type { NotificationHandler, VideoJobHandler } from './worker.types.js';

/** The options of `@NotificationDeliverer`. */
export interface HandlerOptions {
  /** How many run at once in this process. Default 1. */
  readonly concurrency?: number;
}

/** The options of `@VideoJobProcessor`. */
export interface ProcessorOptions extends HandlerOptions {
  /**
   * How long one run may take, in ms. Then its `signal` is aborted, and the attempt fails with a
   * `RunTimeoutError`. Default none: set it to several times what the longest video takes.
   */
  readonly maxRunMs?: number;
}

const processor = DiscoveryService.createDecorator<ProcessorOptions>();
const deliverer = DiscoveryService.createDecorator<HandlerOptions>();

/**
 * Marks the provider that processes video jobs. An application has only one.
 *
 * @param options - `concurrency`: how many jobs run at once in this process (default 1); `maxRunMs`: how
 *   long one run may take, in ms (default: no limit)
 */
export function VideoJobProcessor(
  options: ProcessorOptions = {},
): <T extends new (...args: never[]) => VideoJobHandler<never>>(target: T) => void {
  return (target) => processor(options)(target);
}

/**
 * Marks the provider that delivers notifications. An application has only one.
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
  /** How long one run may take, in ms; undefined for no limit. */
  readonly maxRunMs: number | undefined;
}

/**
 * Finds the decorated providers of an application, each once, however many tokens name it.
 *
 * @throws ConfigurationError if a provider is request-scoped: a worker has no requests
 */
export function findHandlers(discovery: DiscoveryService): {
  processors: FoundHandler<VideoJobHandler>[];
  deliverers: FoundHandler<NotificationHandler>[];
} {
  const find = <T>(decorator: typeof processor): FoundHandler<T>[] => {
    const found = new Map<unknown, FoundHandler<T>>();
    for (const wrapper of discovery.getProviders({ metadataKey: decorator.KEY })) {
      const handler = wrapper.instance as T | null | undefined;
      const name = wrapper.metatype?.name ?? String(wrapper.name);
      if (!wrapper.isDependencyTreeStatic()) {
        throw new ConfigurationError(
          `${name} cannot work in the background, because it or a provider that it injects is request-scoped. ` +
            `Give both the default scope.`,
        );
      }
      if (handler === undefined || handler === null) continue;
      const { concurrency = 1, maxRunMs } =
        discovery.getMetadataByDecorator(decorator, wrapper) ?? {};
      found.set(handler, { handler, name, concurrency, maxRunMs });
    }
    return [...found.values()];
  };
  return { processors: find(processor), deliverers: find(deliverer) };
}
