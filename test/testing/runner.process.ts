// A test runner: starts workers one after the other, each of which makes a database. Between "setup"
// and "teardown" it does what Jest does with its globalSetup, and "again" what Jest does in watch mode at
// the next run. It stays alive if its last worker does.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import setUpOrTearDown from '../../src/testing/jest-setup.js';

const worker = fileURLToPath(new URL('./tester.process.ts', import.meta.url));
for (const step of process.argv.slice(2)) {
  if (step === 'setup' || step === 'teardown') {
    await setUpOrTearDown({ watch: false }, {});
  } else if (step === 'again') {
    await setUpOrTearDown({ watch: true }, {});
  } else {
    const child = fork(worker, [step]);
    if (step !== 'wait') await once(child, 'exit');
  }
}
