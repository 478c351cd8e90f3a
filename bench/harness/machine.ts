import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import type { Server } from './server.ts';

/** The machine and the programs with which figures were measured. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly system: string;
  readonly node: string;
  readonly postgresql: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, string>>;
}

const ROOT = new URL('../../', import.meta.url);

function versionOf(name: string, from: URL): string {
  const resolve = createRequire(from).resolve;
  // Not every package exports its package.json, so this looks for it in the folders above the exported file.
  for (let at = new URL('.', `file://${resolve(name)}`); ; at = new URL('..', at)) {
    const found = readPackage(new URL('package.json', at));
    if (found?.name === name) return found.version;
    if (at.pathname === '/') throw new Error(`${name} has no package.json.`);
  }
}

function readPackage(at: URL): { name: string; version: string } | undefined {
  try {
    return JSON.parse(readFileSync(at, 'utf8')) as { name: string; version: string };
  } catch {
    return undefined;
  }
}

export function describeMachine({ version, settings }: Server): Machine {
  const here = new URL(import.meta.url);
  const pg = versionOf('pg', here);
  const own = versionOf('pg', new URL('package.json', ROOT));
  if (own !== pg) {
    throw new Error(`The package runs on pg ${own} and the floor on ${pg}: they must be the same.`);
  }
  const { length, 0: first } = cpus();
  return {
    cpu: first?.model.trim() ?? 'unknown',
    cores: length,
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    postgresql: version,
    settings,
    versions: {
      pg,
      typeorm: versionOf('typeorm', new URL('package.json', ROOT)),
      '@nestjs/core': versionOf('@nestjs/core', new URL('package.json', ROOT)),
      bullmq: versionOf('bullmq', here),
      'pg-boss': versionOf('pg-boss', here),
      'graphile-worker': versionOf('graphile-worker', here),
    },
  };
}
