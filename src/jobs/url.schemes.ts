import type { InputProblem } from '../errors.js';
import { InvalidInputError } from '../errors.js';

/** The schemes that URLs of videos and results may have, unless the option `urlSchemes` says otherwise. */
export const DEFAULT_URL_SCHEMES: readonly string[] = ['https', 'http', 's3', 'gs', 'file'];

/** A URL of an input, and its path in the input. */
interface GivenUrl {
  readonly property: string;
  readonly url: string;
}

/**
 * Refuses URLs whose scheme the application does not allow. A page that shows a `javascript:` URL as a
 * link would run it.
 *
 * @throws InvalidInputError listing each such URL
 */
export function requireSchemes(
  operation: string,
  schemes: readonly string[],
  urls: readonly GivenUrl[],
): void {
  const problems = urls
    .filter(({ url }) => !schemes.includes(url.slice(0, url.indexOf(':')).toLowerCase()))
    .map(({ property }): InputProblem => {
      const message =
        `must be a URL with one of the schemes ${schemes.join(', ')}, which the option \`urlSchemes\` ` +
        `of FrameForgeDatabaseModule sets`;
      return { property, message };
    });
  if (problems.length > 0) throw new InvalidInputError(operation, problems);
}
