import { FrameForgeError } from '../../src/errors.js';

/** What is made a number of times. */
export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));
export const shuffled = <T>(list: readonly T[]): T[] =>
  list
    .map((value) => ({ value, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ value }) => value);
/** Sorts what came of calls into what was done, and the codes of what was refused. */
export async function outcomes<T>(calls: Promise<T>[]): Promise<{ done: T[]; refused: string[] }> {
  const done: T[] = [];
  const refused: string[] = [];
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === 'fulfilled') done.push(outcome.value);
    else if (outcome.reason instanceof FrameForgeError) refused.push(outcome.reason.code);
    else throw outcome.reason;
  }
  return { done, refused };
}
