import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until something is so; a test that waits for ever is ended by Jest. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(10);
}
