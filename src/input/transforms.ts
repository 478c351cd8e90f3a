import { Transform } from '../peers/class-validator.internals.js';

/**
 * For a host's `ValidationPipe({ transform: true })`, where the value may come from a query string.
 * Only what is plainly a number becomes one: `Number('')` would be 0.
 */
export const NumberFromText = (): PropertyDecorator =>
  Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value,
  );

const ISO_8601 = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/**
 * For a host's `ValidationPipe({ transform: true })`, where the value comes from JSON, which has no dates. Only ISO 8601 with a time zone: `new Date('1')` is some day
 * of the year 2001 on the clock of the server.
 */
export const DateFromText = (): PropertyDecorator =>
  Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && ISO_8601.test(value) ? new Date(value) : value,
  );
