// The parts of class-validator that this package needs, by their files: the whole takes 170 ms to load,
// a quarter of a service's boot, most of it for telephone numbers. All of it, loaded in parts or as a
// whole, keeps what is declared in one global storage.
declare module 'class-validator/cjs/decorator/common/ValidateBy.js' {
  export { ValidateBy } from 'class-validator';
}
declare module 'class-validator/cjs/decorator/common/ValidateIf.js' {
  export { ValidateIf } from 'class-validator';
}
declare module 'class-validator/cjs/decorator/string/IsEmail.js' {
  export { isEmail } from 'class-validator';
}
