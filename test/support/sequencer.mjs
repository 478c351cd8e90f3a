import Sequencer from '@jest/test-sequencer';

/** Installs the package in applications, and runs those: nothing takes longer. */
const isSlowest = ({ path }) => /\/(?:consumer|readme)\/.*\.slow\.test\.ts$/.test(path);

/** Begins with the slowest test files, so that the others are done beside them. */
export default class SlowestFirst extends Sequencer {
  sort(tests) {
    const slowest = tests.filter(isSlowest);
    const others = tests.filter((test) => !slowest.includes(test));
    // oxlint-disable-next-line unicorn/no-array-sort -- no array's, but that of Jest's class
    return [slowest, others].flatMap((group) => super.sort(group));
  }
}
