import type { ValidationError } from 'class-validator';
import type { InputProblem } from '../errors.js';
import { InvalidInputError } from '../errors.js';

/** A class with `class-validator` rules for the parameters of jobs. */
export type JobParametersClass = new () => object;

/** The parameters of an input, and their path in the input. */
interface GivenParameters {
  readonly path: string;
  readonly parameters: object | null | undefined;
}

/**
 * Refuses parameters that break the rules of a class. A job without parameters is checked like a job with an
 * empty object. So it is refused if the class requires a property. Properties that the class does not have
 * are refused too.
 *
 * @throws InvalidInputError listing each fault by property
 */
export async function requireParameters(
  operation: string,
  ParametersClass: JobParametersClass,
  all: readonly GivenParameters[],
): Promise<void> {
  // It is loaded only here, because that takes 170 ms. An application with such a class has loaded it already.
  const [{ validate }, { plainToInstance }] = await Promise.all([
    import('class-validator'),
    import('class-transformer'),
  ]);
  const problems: InputProblem[] = [];
  for (const { path, parameters } of all) {
    const instance = plainToInstance(ParametersClass, parameters ?? {});
    const errors = await validate(instance, { whitelist: true, forbidNonWhitelisted: true });
    problems.push(...errors.flatMap((error) => problemsOf(error, path)));
  }
  if (problems.length > 0) throw new InvalidInputError(operation, problems);
}

function problemsOf(
  { property, constraints, children }: ValidationError,
  path: string,
): InputProblem[] {
  // For an object without any rules, class-validator names no property.
  const at = (property ?? '') === '' ? path : `${path}.${property}`;
  const own = Object.entries(constraints ?? {}).map(([rule, text]): InputProblem => {
    if (rule === 'whitelistValidation') {
      return { property: at, message: 'is not a property of the class that `jobParameters` names' };
    }
    // Most messages begin with the property. The problems of this package do not repeat it.
    const message = text.startsWith(`${property} `) ? text.slice(property.length + 1) : text;
    return { property: at, message };
  });
  return [...own, ...(children ?? []).flatMap((child) => problemsOf(child, at))];
}
