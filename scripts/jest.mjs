// Runs Jest with the given arguments, and ends with a line "N passed, N failed".
// A test that is skipped or not written yet counts as failed, because it proves nothing.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, Tally } from './tally.mjs';

const directory = mkdtempSync(join(tmpdir(), 'frameforge-jest-'));
const outputFile = join(directory, 'result.json');
const tally = new Tally();
try {
  const args = ['test', '--', '--json', `--outputFile=${outputFile}`, ...process.argv.slice(2)];
  const { code } = await run(['npm', '--silent', 'run', ...args]);
  const result = JSON.parse(readFileSync(outputFile, 'utf8'));
  tally.add('tests', { passed: result.numPassedTests, failed: result.numFailedTests });
  tally.add('test files that did not run', { passed: 0, failed: result.numRuntimeErrorTestSuites });
  const skipped = result.numPendingTests + result.numTodoTests;
  tally.add('tests that were skipped', { passed: 0, failed: skipped });
  if (code !== 0 && tally.failed === 0) tally.add('Jest itself', { passed: 0, failed: 1 });
} catch (error) {
  process.stderr.write(`${error.stack}\n`);
  tally.add('Jest itself', { passed: 0, failed: 1 });
} finally {
  rmSync(directory, { recursive: true, force: true });
}
tally.end();
