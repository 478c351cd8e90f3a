import { reasonOf } from '../errors.js';

const MAX_CHARACTERS = 10_000;

/** What a handler threw, as text that can be stored: never empty, bounded, without what no `text` holds. */
export function errorText(error: unknown): string {
  const text = reasonOf(error).replaceAll('\0', '').toWellFormed().trim();
  return (
    text.slice(0, MAX_CHARACTERS).toWellFormed() || 'The handler threw an error without a message.'
  );
}
