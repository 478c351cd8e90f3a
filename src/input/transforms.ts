import { Transform } from '../peers/class-validator.internals.js';

/**
 * Converts a text to a number, for `ValidationPipe({ transform: true })` with values of a query string. Only a
 * text that is clearly a number is converted: `Number('')` would be 0.
 */
export const NumberFromText = (): PropertyDecorator =>
  converted((value) =>
    typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value,
  );

const ISO_8601 = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/**
 * Converts a text to a date, because JSON has no dates. Only ISO 8601 with a time zone is converted:
 * `new Date('1')` would be a day of the year 2001 in the server's time zone.
 */
export const DateFromText = (): PropertyDecorator =>
  converted((value) =>
    typeof value === 'string' && ISO_8601.test(value) ? new Date(value) : value,
  );

/**
 * Converts a property in two ways. The first is class-transformer's decorator, which the mapped types of Nest
 * copy. The second is a setter for the first assignment, after which the instance has a plain property. The
 * second is needed with a bundler. The application's pipe may then use another copy of class-transformer,
 * which does not know the decorators of this package's copy.
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
