import { jest } from '@jest/globals';
import * as api from '@opentelemetry/api';
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';
import { LazyAbort } from '../../src/jobs/leases/lazy-abort.js';
import { Telemetry } from '../../src/worker/telemetry.js';

afterEach(() => api.trace.disable());

it('makes no spans before an SDK is registered', async () => {
  const tracer = api.trace.getTracer('test');
  const begun = jest.spyOn(tracer, 'startActiveSpan');
  const telemetry = new Telemetry(api, undefined, tracer);
  const run = (): Promise<string> =>
    telemetry.span('process', 'a job', 1, () => Promise.resolve('completed'));
  expect(await run()).toBe('completed');
  expect(begun).not.toHaveBeenCalled();
  api.trace.setGlobalTracerProvider(new BasicTracerProvider());
  expect(await run()).toBe('completed');
  expect(begun).toHaveBeenCalledTimes(1);
});

describe('the signal of a lease', () => {
  const [first, second] = [new Error('lost'), new Error('late')];

  it('has the first reason for which it was aborted, whenever it is read', () => {
    const [before, after] = [new LazyAbort(), new LazyAbort()];
    const { signal } = before;
    for (const abort of [before, after]) {
      expect(abort.aborted).toBe(false);
      abort.throwIfAborted();
      abort.abort(first);
      abort.abort(second);
      expect(abort.aborted).toBe(true);
      expect(() => abort.throwIfAborted()).toThrow(first);
    }
    for (const one of [signal, after.signal]) {
      expect(one.aborted).toBe(true);
      expect(one.reason).toBe(first);
    }
  });
});
