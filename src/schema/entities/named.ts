/**
 * Keeps the name of an entity class where a bundler has shortened it. TypeORM and `@nestjs/typeorm` know
 * entities by the names of their classes, and two shortened names may be the same.
 */
export const Named =
  (name: string): ClassDecorator =>
  (target) => {
    Object.defineProperty(target, 'name', { value: name, configurable: true });
  };
