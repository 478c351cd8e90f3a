// The setup of each test file of `npm run test:quick`. It makes a test fail that starts a process.
import childProcess from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';

const refuse = () => {
  throw new Error(
    'A test that starts a process is none of test:quick: name its file .slow.test.ts.',
  );
};
for (const name of ['spawn', 'spawnSync', 'fork', 'exec', 'execSync', 'execFile', 'execFileSync']) {
  childProcess[name] = refuse;
}
syncBuiltinESMExports();
