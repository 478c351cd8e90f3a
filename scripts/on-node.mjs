// node scripts/on-node.mjs <version> <command...>
//
// Runs a command under another version of Node, such as 26, which it installs from npm into a folder that
// is removed at the end. The programs that the command starts by the name `node`, including npm, also run with that
// version.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { run } from './tally.mjs';

const [version, ...command] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'frameforge-node-'));
const name = `node-${process.platform}-${process.arch}`;
try {
  const quietly = ['--silent', '--no-audit', '--no-fund', '--ignore-scripts', '--no-save'];
  const stdio = ['ignore', 'ignore', 'inherit'];
  execFileSync('npm', ['install', ...quietly, '--prefix', folder, `${name}@${version}`], { stdio });
  const bin = join(folder, 'node_modules', name, 'bin');
  const PATH = [bin, process.env.PATH].join(delimiter);
  const used = execFileSync('node', ['--version'], { env: { ...process.env, PATH } });
  process.stdout.write(`Node ${used}`);
  const { code } = await run(command, { env: { PATH } });
  process.exitCode = code ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
