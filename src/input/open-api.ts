/** The options of `@ApiProperty` of `@nestjs/swagger` for a property. */
export type OpenApi = Readonly<Record<string, unknown>>;

/** The name of the method that the compiler plugin of `@nestjs/swagger` writes, and that its module reads. */
const FACTORY = '_OPENAPI_METADATA_FACTORY';

/**
 * Lets `@nestjs/swagger` document a class if it is installed. This package does not import it.
 *
 * @param propertiesOf - returns the properties by their names; it is called when the document is made
 */
export function documentClass(
  inputClass: object,
  propertiesOf: () => Readonly<Record<string, OpenApi>>,
): void {
  if (Object.hasOwn(inputClass, FACTORY)) return;
  // It is not enumerable, because the mapped types of Nest copy enumerable properties.
  Object.defineProperty(inputClass, FACTORY, { value: propertiesOf });
}
