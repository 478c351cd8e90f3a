// Runs Jest with the given arguments, and ends with a line "N passed, N failed".
// A test that is skipped or not written yet counts as failed, because it proves nothing.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { run, Tally } from './tally.mjs';

const directory = mkdtempSync(join(tmpdir(), 'frameforge-jest-'));
const outputFile = join(directory, 'result.json');
const tally = new Tally();
try {
  const args = ['test', '--', '--json', `--outputFile=${outputFile}`, ...process.argv.slice(2)];
  const { code } = await run(['npm', '--silent', 'run', ...args]);
  const result = JSON.parse(readFileSync(outputFile, 'utf8'));
  const reasons = result.testResults.flatMap(failuresOf);
  tally.add('tests', { passed: result.numPassedTests, failed: result.numFailedTests, reasons });
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

/** A line for each test of a file that failed, or one for the file if it did not run. */
function failuresOf({ name, message, status, assertionResults }) {
  const file = relative(process.cwd(), name);
  const failed = assertionResults.filter((test) => test.status === 'failed');
  if (failed.length === 0) return status === 'failed' ? [`Failed: ${file}: ${short(message)}`] : [];
  return failed.map(
    ({ fullName, failureMessages }) =>
      `Failed: ${file}: ${fullName}: ${short(failureMessages.join(' '))}`,
  );
}

/** A message in one line, without its stack and the colours. */
function short(message) {
  const [said] = stripVTControlCharacters(message).split(/\n\s+at /);
  return said.replaceAll(/\s+/g, ' ').trim().slice(0, 500);
}
