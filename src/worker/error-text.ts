import { reasonOf } from '../errors.text.js';

const MAX_CHARACTERS = 10_000;

/** A text as a column of a table can hold it: bounded, and without what no `text` holds. */
export const storable = (text: string): string =>
  text.replaceAll('\0', '').toWellFormed().trim().slice(0, MAX_CHARACTERS).toWellFormed();

/** What a handler threw, as a text that can be stored and is never empty. */
export const errorText = (error: unknown): string =>
  storable(reasonOf(error)) || 'The handler threw an error without a message.';
