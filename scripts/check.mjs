// npm run check: everything that must hold before a change is merged, in one command.
import { heading, outcome, run, Tally } from './tally.mjs';

const CHECKS = [
  ['format', 'npm', '--silent', 'run', 'format:check'],
  ['lint', 'npm', '--silent', 'run', 'lint'],
  ['types', 'npm', '--silent', 'run', 'types'],
  ['build', 'npm', '--silent', 'run', 'build'],
  ['tests', 'node', 'scripts/jest.mjs'],
];

const tally = new Tally();
for (const [name, ...command] of CHECKS) {
  heading(name);
  tally.add(name, outcome(await run(command)));
}
tally.end();
