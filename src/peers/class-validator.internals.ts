import { Transform } from 'class-transformer/cjs/decorators/transform.decorator.js';
import { ValidateBy } from 'class-validator/cjs/decorator/common/ValidateBy.js';
import { ValidateIf } from 'class-validator/cjs/decorator/common/ValidateIf.js';
import { isEmail } from 'class-validator/cjs/decorator/string/IsEmail.js';
import { requireParts } from './library.version.js';

// The only place that names files inside of class-validator and class-transformer. Both have a public
// entry alone, and loading it takes 170 ms, a quarter of a service's boot, most of it for telephone
// numbers. What these parts declare is in the storage that the whole library reads.

/**
 * Looks whether the parts are what they are taken for.
 *
 * @throws ConfigurationError naming the version of the library that lacks one
 */
export function requireValidatorParts(): void {
  requireParts('class-validator', {
    ValidateBy: typeof ValidateBy === 'function',
    ValidateIf: typeof ValidateIf === 'function',
    isEmail: typeof isEmail === 'function',
  });
  requireParts('class-transformer', { Transform: typeof Transform === 'function' });
}

export { isEmail, Transform, ValidateBy, ValidateIf };
