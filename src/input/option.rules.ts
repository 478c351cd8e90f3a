/** Checks the value of an option. Returns the problem, such as `must be true or false`, or undefined if there is none. */
export type OptionRule = (value: unknown) => string | undefined;

/** The longest time that Node's timers and PostgreSQL's integers can hold, in ms: 24.8 days. */
export const MAX_MS = 2 ** 31 - 1;

const rule =
  (test: (value: unknown) => boolean, problem: string): OptionRule =>
  (value) =>
    test(value) ? undefined : problem;

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

export const anything: OptionRule = () => undefined;

export const flag = rule((value) => typeof value === 'boolean', 'must be true or false');

export const aFunction = rule((value) => typeof value === 'function', 'must be a function');

export const anObject = rule(isObject, 'must be an object');

/** A list as TypeORM takes it, for example of entities: an array, or an object whose values are the entries. */
export const list = rule(isObject, 'must be an array, or an object whose values are meant');

/** A name or another text. An empty text is refused, because it would mean something else than a missing option. */
export const text = rule(
  (value) => typeof value === 'string' && value !== '',
  'must be a text that is not empty: leave it out for the default',
);

export const oneOf = (...values: readonly unknown[]): OptionRule =>
  rule(
    (value) => values.includes(value),
    `must be ${values.map((value) => `'${String(value)}'`).join(' or ')}`,
  );

/** @param unit - what is counted, such as `milliseconds` */
export const wholeNumber = (min: number, max = MAX_MS, unit?: string): OptionRule =>
  rule(
    (value) => Number.isInteger(value) && Number(value) >= min && Number(value) <= max,
    `must be a whole number${unit === undefined ? '' : ` of ${unit}`} from ${min} to ${max}`,
  );

/** A time that a timer can wait, in ms. A timer with a longer time would fire at once. */
export const milliseconds = wholeNumber(0, MAX_MS, 'milliseconds');

/** A value that meets one of several rules. @param problem - the message if it meets none */
export const either = (problem: string, ...rules: readonly OptionRule[]): OptionRule =>
  rule((value) => rules.some((each) => each(value) === undefined), problem);

/** Schemes of URLs, as RFC 3986 writes them. */
export const urlSchemes: OptionRule = rule(
  (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((scheme) => typeof scheme === 'string' && /^[a-z][a-z0-9+.-]*$/i.test(scheme)),
  `must be an array of schemes without the colon, such as ['https', 's3']`,
);

/**
 * Finds the problems of options. A table has a rule for each option. An option that is undefined counts as
 * left out.
 *
 * @param remedyOf - returns what to do about an option that is not in the table
 */
export function optionProblems(
  options: unknown,
  rules: Readonly<Record<string, OptionRule>>,
  remedyOf: (key: string) => string = () => 'remove it, or correct its spelling',
): string[] {
  // A factory may have returned any value.
  if (!isObject(options)) return ['its options must be an object'];
  return Object.entries(options).flatMap(([key, value]) => {
    if (!Object.hasOwn(rules, key)) return [`\`${key}\` is not an option here: ${remedyOf(key)}`];
    const problem = value === undefined ? undefined : rules[key]?.(value);
    return problem === undefined ? [] : [`\`${key}\` ${problem}`];
  });
}
