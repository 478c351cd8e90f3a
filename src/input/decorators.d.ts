// The parts of class-validator and class-transformer that this package needs, by their files. The whole
// of class-validator takes 170 ms to load, a quarter of a service's boot, most of it for telephone
// numbers. What the parts declare is in the storage that the whole reads.
declare module 'class-validator/cjs/decorator/common/ValidateBy.js' {
  export { ValidateBy } from 'class-validator';
}
declare module 'class-validator/cjs/decorator/common/ValidateIf.js' {
  export { ValidateIf } from 'class-validator';
}
declare module 'class-validator/cjs/decorator/string/IsEmail.js' {
  export { isEmail } from 'class-validator';
}
declare module 'class-transformer/cjs/decorators/transform.decorator.js' {
  export { Transform } from 'class-transformer';
}
