import { reasonOf } from '../errors.text.js';

const MAX_CHARACTERS = 10_000;

/** Makes a text storable in a column: limits its length, and removes characters that PostgreSQL's `text` cannot hold. */
export const storable = (text: string): string =>
  text.replaceAll('\0', '').toWellFormed().trim().slice(0, MAX_CHARACTERS).toWellFormed();

/** The message of an error of a handler, as a text that can be stored and is never empty. */
export const errorText = (error: unknown): string =>
  storable(reasonOf(error)) || 'The handler threw an error without a message.';
