import * as transform from 'class-transformer/cjs/decorators/transform.decorator.js';
import * as validateBy from 'class-validator/cjs/decorator/common/ValidateBy.js';
import * as validateIf from 'class-validator/cjs/decorator/common/ValidateIf.js';
import * as email from 'class-validator/cjs/decorator/string/IsEmail.js';
import { requireParts } from './library.version.js';

// The only place that names files inside of class-validator and class-transformer. Both libraries have one
// public entry. Loading it takes 170 ms, a quarter of the start of a service, mostly for telephone numbers.
// The parts here write to the same storage that the whole library reads.
//
// If a part is missing, the import does not fail, because its error would name a file without a version. The
// start of the application refuses it instead, before any rule is used.

/**
 * Checks that all parts exist.
 *
 * @throws ConfigurationError naming the version of the library that lacks one
 */
export function requireValidatorParts(): void {
  requireParts('class-validator', {
    ValidateBy: typeof validateBy.ValidateBy === 'function',
    ValidateIf: typeof validateIf.ValidateIf === 'function',
    isEmail: typeof email.isEmail === 'function',
  });
  requireParts('class-transformer', { Transform: typeof transform.Transform === 'function' });
}

const noDecorator = (): PropertyDecorator => () => {};

export const ValidateBy: typeof validateBy.ValidateBy = validateBy.ValidateBy ?? noDecorator;
export const ValidateIf: typeof validateIf.ValidateIf = validateIf.ValidateIf ?? noDecorator;
export const Transform: typeof transform.Transform = transform.Transform ?? noDecorator;
export const isEmail: typeof email.isEmail = email.isEmail ?? (() => false);
