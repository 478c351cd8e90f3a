import * as transform from 'class-transformer/cjs/decorators/transform.decorator.js';
import * as validateBy from 'class-validator/cjs/decorator/common/ValidateBy.js';
import * as validateIf from 'class-validator/cjs/decorator/common/ValidateIf.js';
import * as email from 'class-validator/cjs/decorator/string/IsEmail.js';
import { requireParts } from './library.version.js';

// The only place that names files inside of class-validator and class-transformer. Both have a public
// entry alone, and loading it takes 170 ms, a quarter of a service's boot, most of it for telephone
// numbers. What these parts declare is in the storage that the whole library reads.
//
// A part that is missing does not fail the import, where the reason would be a name of a file without a
// version: the boot refuses it, before anything is checked by the rules.

/**
 * Looks whether the parts are what they are taken for.
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
