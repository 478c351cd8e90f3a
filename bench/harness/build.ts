import { spawnSync } from 'node:child_process';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as database from '../../dist/index.js';
import * as worker from '../../dist/worker/index.js';

/** A build of this package, by its public entry points. */
export interface Build {
  readonly name: string;
  readonly database: typeof database;
  readonly worker: typeof worker;
}

export const OWN: Build = { name: 'this package', database, worker };

/**
 * Loads the build of another checkout of this package, which is measured beside this one.
 *
 * @param directory - the checkout, with its `node_modules` and its `dist`
 */
export async function loadBuild(directory: string): Promise<Build> {
  const load = (path: string): Promise<unknown> =>
    import(pathToFileURL(resolve(directory, 'dist', path)).href);
  const commit = spawnSync('git', ['-C', directory, 'rev-parse', '--short', 'HEAD']);
  return {
    name: commit.status === 0 ? String(commit.stdout).trim() : basename(resolve(directory)),
    database: (await load('index.js')) as Build['database'],
    worker: (await load('worker/index.js')) as Build['worker'],
  };
}
