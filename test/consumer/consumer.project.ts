import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

interface Manifest {
  readonly bin: Record<string, string>;
  readonly exports: Record<string, string | Record<string, string | Record<string, string>>>;
  readonly typesVersions: Record<string, Record<string, readonly string[]>>;
  readonly main: string;
  readonly types: string;
  readonly peerDependencies: Record<string, string>;
  readonly peerDependenciesMeta: Record<string, { optional?: boolean }>;
  readonly dependencies?: Record<string, string>;
  readonly scripts: Record<string, string>;
}

export const manifest = JSON.parse(
  readFileSync(join(REPOSITORY, 'package.json'), 'utf8'),
) as Manifest;

const PEERS = Object.keys(manifest.peerDependencies);
const isOptional = (peer: string): boolean =>
  manifest.peerDependenciesMeta[peer]?.optional === true;
export const REQUIRED_PEERS = PEERS.filter((peer) => !isOptional(peer));
export const OPTIONAL_PEERS = PEERS.filter(isOptional);

/** The names that applications import. */
export const ENTRIES = Object.keys(manifest.exports)
  .filter((entry) => !entry.endsWith('.json'))
  .map((entry) => `@frameforge/shared-types${entry.slice(1)}`);

/** Prints the exports that differ between `require` and `import`, and how many there are. */
export const SAME = `
const entries = process.argv.slice(2);
async function main() {
  const different = [];
  let count = 0;
  for (const entry of entries) {
    const required = require(entry);
    const imported = await import(entry);
    for (const name of Object.keys(imported)) {
      count += 1;
      if (imported[name] !== required[name]) different.push(entry + ' ' + name);
    }
  }
  process.stdout.write(JSON.stringify({ different, count }));
}
void main();
`;

/** The version that this repository is developed with, as npm takes it. */
export function current(name: string): string {
  const file = join(REPOSITORY, 'node_modules', name, 'package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  return `${name}@${version}`;
}

/** The lowest version that the range of a peer dependency allows. */
export function oldest(peer: string): string {
  const lowest = /\d+\.\d+\.\d+[\w.-]*/.exec(manifest.peerDependencies[peer] ?? '')?.[0];
  if (lowest === undefined) throw new Error(`The range of the peer ${peer} has no lower end.`);
  return `${peer}@${lowest}`;
}

/** How a command ended, and what it printed. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. It does not throw if the command fails: the caller decides. */
export async function run(
  directory: string,
  [file, ...args]: readonly [string, ...string[]],
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  // The application must not inherit the options of this Jest, nor the server of this run.
  const {
    NODE_OPTIONS: _jest,
    FRAMEFORGE_TEST_RUN: _run,
    NODE_ENV: _test,
    JEST_WORKER_ID: _worker,
    ...inherited
  } = process.env;
  const child = spawn(file, args, {
    cwd: directory,
    env: { ...inherited, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const printed = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      printed[stream] += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  return { code, ...printed };
}

/** Runs a command that must succeed, and returns what it printed to stdout. */
export async function runOk(...given: Parameters<typeof run>): Promise<string> {
  const { code, stdout, stderr } = await run(...given);
  if (code === 0) return stdout;
  throw new Error(`${given[1].join(' ')} ended with code ${code}:\n${stdout}\n${stderr}`);
}

/** An application outside of this repository. */
export class ConsumerProject {
  readonly directory = mkdtempSync(join(tmpdir(), 'frameforge-consumer-'));

  /**
   * Makes an application with these packages installed from the registry.
   *
   * @param packages - with their versions: `pg@8.11.0`; or a tarball
   */
  static async create(
    type: 'module' | 'commonjs',
    packages: readonly string[],
  ): Promise<ConsumerProject> {
    const project = new ConsumerProject();
    project.write('package.json', JSON.stringify({ name: 'consumer', private: true, type }));
    try {
      await project.install(packages);
      return project;
    } catch (error) {
      project.remove();
      throw error;
    }
  }

  /** Installs packages from the registry, or from its copies in npm's cache. */
  async install(words: readonly string[]): Promise<void> {
    const install = ['npm', 'install', '--prefer-offline', '--no-audit', '--no-fund'] as const;
    await this.runOk([...install, ...words]);
  }

  write(path: string, text: string): void {
    const file = join(this.directory, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  has(path: string): boolean {
    return existsSync(join(this.directory, path));
  }

  /**
   * Compiles all TypeScript of the project, with the declarations of its packages. Errors in the declarations of
   * other packages do not count: some are older than the compiler.
   */
  async compile(): Promise<void> {
    this.write(
      'tsconfig.json',
      JSON.stringify({
        compilerOptions: {
          target: 'es2022',
          module: 'nodenext',
          moduleResolution: 'nodenext',
          strict: true,
          skipLibCheck: false,
          experimentalDecorators: true,
          emitDecoratorMetadata: true,
          useDefineForClassFields: false,
          types: ['node'],
          rootDir: 'src',
          outDir: 'dist',
        },
        include: ['src'],
      }),
    );
    // The compiler of this repository is used, which saves an installation of 24 MB.
    await this.typeCheck(['node', join(REPOSITORY, 'node_modules/typescript/bin/tsc')]);
  }

  /** Runs a TypeScript compiler, and reports only errors in files of this package and of the project. */
  async typeCheck(compiler: readonly [string, ...string[]]): Promise<void> {
    const { stdout } = await this.run([...compiler, '--pretty', 'false']);
    const problems = stdout
      .split('\n')
      .filter((line) => /error TS\d+/.test(line) && !/^node_modules\/(?!@frameforge\/)/.test(line));
    if (problems.length > 0) throw new Error(`tsc says:\n${problems.join('\n')}`);
  }

  run(command: readonly [string, ...string[]], env?: NodeJS.ProcessEnv): Promise<Ended> {
    return run(this.directory, command, env);
  }

  runOk(command: readonly [string, ...string[]], env?: NodeJS.ProcessEnv): Promise<string> {
    return runOk(this.directory, command, env);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
