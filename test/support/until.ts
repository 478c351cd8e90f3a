import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until a condition is true. Jest ends a test that waits for ever. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(10);
}
