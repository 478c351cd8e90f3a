import { Transform } from '../peers/class-validator.internals.js';

/**
 * For a host's `ValidationPipe({ transform: true })`, where the value may come from a query string.
 * Only what is plainly a number becomes one: `Number('')` would be 0.
 */
export const NumberFromText = (): PropertyDecorator =>
  converted((value) =>
    typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value,
  );

const ISO_8601 = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/**
 * For JSON, which has no dates. Only ISO 8601 with a time zone becomes one: `new Date('1')` is some day
 * of the year 2001 on the clock of the server.
 */
export const DateFromText = (): PropertyDecorator =>
  converted((value) =>
    typeof value === 'string' && ISO_8601.test(value) ? new Date(value) : value,
  );

/**
 * Converts a property in two ways. By class-transformer's decorator, which the mapped types of Nest take
 * over. And when it is first assigned: class-transformer keeps its decorators in each copy of itself, and
 * a bundler may give the pipe of the host another copy than this package. The instance then has a plain
 * property of its own.
 */
function converted(convert: (value: unknown) => unknown): PropertyDecorator {
  return (prototype, key) => {
    Transform(({ value }: { value: unknown }) => convert(value))(prototype, key);
    Object.defineProperty(prototype, key, {
      configurable: true,
      set(this: object, value: unknown) {
        Object.defineProperty(this, key, {
          value: convert(value),
          writable: true,
          enumerable: true,
          configurable: true,
        });
      },
    });
  };
}
