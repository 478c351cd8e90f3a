import { isDate } from 'node:util/types';
import { isEmail } from '../peers/class-validator.internals.js';
import type { OpenApi } from './open-api.js';

/** What a value must be: a test, and the words that complete "<property> ..." when it fails. */
export interface Rule {
  readonly name: string;
  readonly message: string;
  accepts(value: unknown): boolean;
  /** How the application's OpenAPI document describes it; undefined for values that no request can carry. */
  readonly openApi: OpenApi | undefined;
  /**
   * Makes a copy of a value that others may change meanwhile, or that can be written in several ways.
   *
   * @returns undefined if the value is not accepted
   */
  copy?(value: unknown): unknown;
}

const UUID =
  /^(?:[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|0{8}-0{4}-0{4}-0{4}-0{12}|f{8}-f{4}-f{4}-f{4}-f{12})$/i;

/** PostgreSQL's largest `integer`. */
export const MAX_INTEGER = 2_147_483_647;

const MAX_URL_LENGTH = 8_192;

const CONTROL = /\p{Cc}/u;

/** Whether PostgreSQL can store a text. It stores no NUL, and a lone surrogate has no UTF-8 form. */
export const isStorable = (value: string): boolean => !value.includes('\0') && value.isWellFormed();

/** Any UUID of RFC 9562: versions 1 to 8, nil and max, in either case. */
export const uuid: Rule = {
  name: 'uuid',
  message: 'must be a UUID',
  openApi: { type: () => String, format: 'uuid' },
  accepts: (value) => typeof value === 'string' && UUID.test(value),
};

/** @param max - in characters, as PostgreSQL counts them (code points) */
export function text(max: number): Rule {
  return {
    name: 'text',
    message: `must be a string of 1 to ${max} characters, without NUL characters or lone surrogates`,
    openApi: { type: () => String, minLength: 1, maxLength: max },
    accepts: (value) =>
      typeof value === 'string' &&
      value !== '' &&
      isStorable(value) &&
      (value.length <= max || (value.length <= 2 * max && [...value].length <= max)),
  };
}

/** A URL with a scheme and `//`: `https://…`, `s3://…`, `http://minio:9000/…`. */
export const url: Rule = {
  name: 'url',
  message:
    `must be a URL with a scheme, such as https://host/path or s3://bucket/key, ` +
    `of at most ${MAX_URL_LENGTH} characters`,
  openApi: { type: () => String, format: 'uri', maxLength: MAX_URL_LENGTH },
  accepts: (value) =>
    typeof value === 'string' &&
    value.length <= MAX_URL_LENGTH &&
    // The parser would drop control characters and outer spaces, but the given text is stored.
    value.trim() === value &&
    !CONTROL.test(value) &&
    /^[a-z][a-z0-9+.-]*:\/\/./i.test(value) &&
    value.isWellFormed() &&
    URL.canParse(value),
};

export const email: Rule = {
  name: 'email',
  message: 'must be an e-mail address of at most 255 characters',
  openApi: { type: () => String, format: 'email', maxLength: 255 },
  accepts: (value) =>
    typeof value === 'string' &&
    value.length <= 255 &&
    // isEmail accepts line breaks in quotes. They could add headers to an e-mail.
    !CONTROL.test(value) &&
    // isEmail throws at lone surrogates.
    value.isWellFormed() &&
    isEmail(value),
};

export function integer(min: number, max = MAX_INTEGER): Rule {
  return {
    name: 'integer',
    message: `must be an integer from ${min} to ${max}`,
    openApi: { type: 'integer', minimum: min, maximum: max },
    accepts: (value) => Number.isInteger(value) && Number(value) >= min && Number(value) <= max,
  };
}

/** A time from 1970 to the end of 9999. JavaScript, JSON and PostgreSQL can all hold it. */
export const instant: Rule = {
  name: 'instant',
  message: 'must be a Date from 1970 to 9999; in JSON, as 2030-01-31T12:00:00Z',
  openApi: { type: () => Date },
  accepts: isInstant,
  // A call may wait for others that share its statement, and its caller may change the date meanwhile.
  copy: (value) => (isInstant(value) ? new Date(value) : undefined),
};

function isInstant(value: unknown): value is Date {
  return isDate(value) && value.getTime() >= 0 && value.getTime() < Date.UTC(10_000, 0, 1);
}

export function oneOf(values: readonly string[]): Rule {
  return {
    name: 'oneOf',
    message: `must be one of ${values.join(', ')}`,
    openApi: { enum: values },
    accepts: (value) => typeof value === 'string' && values.includes(value),
  };
}

export const flag: Rule = {
  name: 'flag',
  message: 'must be true or false',
  openApi: { type: () => Boolean },
  accepts: (value) => typeof value === 'boolean',
};
