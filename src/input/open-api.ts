/** How `@nestjs/swagger` documents a property: what its `@ApiProperty` takes. */
export type OpenApi = Readonly<Record<string, unknown>>;

/** The method that the compiler plugin of `@nestjs/swagger` writes, and its module looks for. */
const FACTORY = '_OPENAPI_METADATA_FACTORY';

/**
 * Lets `@nestjs/swagger` document a class, where it is installed. Nothing is imported of it.
 *
 * @param propertiesOf - by their names; asked when the document is made
 */
export function documentClass(
  inputClass: object,
  propertiesOf: () => Readonly<Record<string, OpenApi>>,
): void {
  if (Object.hasOwn(inputClass, FACTORY)) return;
  // Not enumerable: the mapped types of Nest copy what is.
  Object.defineProperty(inputClass, FACTORY, { value: propertiesOf });
}
