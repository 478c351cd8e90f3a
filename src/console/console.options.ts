import { VERSION_NEUTRAL } from '@nestjs/common';
import type { CanActivate, ControllerOptions, ModuleMetadata, Type } from '@nestjs/common';
import { ConfigurationError } from '../errors.js';
import type { OptionRule } from '../input/option.rules.js';
import { aFunction, flag, list, optionProblems, text } from '../input/option.rules.js';

/** The options of `FrameForgeConsoleModule`. */
export interface FrameForgeConsoleOptions {
  /** Where the pages are, below the application's global prefix. Default `frameforge`. */
  readonly path?: string;
  /**
   * The version of the pages, where the application has versions; its `defaultVersion` if left out. Where
   * versions are in a header or a media type, which no browser sends when it opens a page:
   * `VERSION_NEUTRAL`.
   */
  readonly version?: ControllerOptions['version'];
  /**
   * Guards of the application, as classes or instances. Each page, each file and each action must pass all of
   * them.
   */
  readonly guards?: readonly (Type<CanActivate> | CanActivate)[];
  /** The modules that export what the guards need. */
  readonly imports?: ModuleMetadata['imports'];
  /**
   * Lets everybody in, without guards. Refused if `NODE_ENV` is `production`. Default false.
   */
  readonly unguarded?: boolean;
  /** Whether jobs can be retried and cancelled, and notifications delivered again. Default false. */
  readonly actions?: boolean;
  /**
   * Returns the name of the user who sent a request, for the log line of each action.
   *
   * @param request - the request of Express or Fastify, after the guards
   */
  readonly actor?: (request: unknown) => string;
  /** The name of the data source, if it is not the default one. */
  readonly dataSource?: string;
}

/** The options, with nothing left to default. */
export interface ResolvedConsoleOptions {
  readonly path: string;
  readonly version: ControllerOptions['version'];
  readonly guards: readonly (Type<CanActivate> | CanActivate)[];
  readonly imports: NonNullable<ModuleMetadata['imports']>;
  readonly actions: boolean;
  readonly actor: (request: unknown) => string;
  readonly dataSource: string | undefined;
}

const PATH = /^[\w.~-]+(?:\/[\w.~-]+)*$/;

const path: OptionRule = (value) =>
  typeof value === 'string' && PATH.test(trimmed(value))
    ? undefined
    : 'must be a path of letters, digits, and . _ ~ -, such as `frameforge` or `internal/jobs`';

const guards: OptionRule = (value) =>
  Array.isArray(value) && value.length > 0 && value.every(isGuard)
    ? undefined
    : 'must be an array of guards, as classes or instances';

const isVersion = (value: unknown): boolean =>
  typeof value === 'string' || value === VERSION_NEUTRAL;

const version: OptionRule = (value) =>
  [value].flat().every(isVersion)
    ? undefined
    : 'must be a version, an array of some, or VERSION_NEUTRAL';

const RULES: Record<keyof FrameForgeConsoleOptions, OptionRule> = {
  path,
  version,
  guards,
  imports: list,
  unguarded: flag,
  actions: flag,
  actor: aFunction,
  dataSource: text,
};

/**
 * Checks the options and fills in the defaults.
 *
 * @throws ConfigurationError without guards, unless `unguarded` is true outside of production; and naming
 *   each option that is unknown or wrong
 */
export function resolveConsoleOptions(options: FrameForgeConsoleOptions): ResolvedConsoleOptions {
  const problems = optionProblems(options, RULES);
  const { guards: given = [], unguarded = false } = options ?? {};
  if (problems.length === 0 && given.length === 0 && !unguarded) {
    problems.push(
      'it shows all jobs and e-mail addresses, so it needs `guards`, such as `guards: [AdminGuard]`; on a ' +
        'machine of your own `unguarded: true` goes without',
    );
  }
  if (unguarded && given.length > 0) {
    problems.push('`guards` and `unguarded` contradict each other: leave one out');
  }
  if (unguarded && process.env['NODE_ENV'] === 'production') {
    problems.push('`unguarded` is refused where NODE_ENV is production: give it `guards`');
  }
  if (problems.length > 0) {
    throw new ConfigurationError(`FrameForgeConsoleModule cannot start: ${problems.join('; ')}.`);
  }
  return {
    path: trimmed(options.path ?? 'frameforge'),
    version: options.version,
    guards: given,
    imports: options.imports ?? [],
    actions: options.actions ?? false,
    actor: options.actor ?? (() => 'somebody'),
    dataSource: options.dataSource,
  };
}

const trimmed = (value: string): string => value.replace(/^\/+|\/+$/g, '');

const isGuard = (guard: unknown): boolean =>
  typeof guard === 'function' ||
  (typeof guard === 'object' && guard !== null && 'canActivate' in guard);
