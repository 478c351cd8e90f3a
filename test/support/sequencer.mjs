import Sequencer from '@jest/test-sequencer';

/** The folder of the slowest tests: they install the package in applications and run these. */
const isSlowest = ({ path }) => /\/(?:consumer|readme)\/.*\.slow\.test\.ts$/.test(path);

/** Begins with the slowest test files, so that the others are done beside them. */
export default class SlowestFirst extends Sequencer {
  sort(tests) {
    const slowest = tests.filter(isSlowest);
    const others = tests.filter((test) => !slowest.includes(test));
    // oxlint-disable-next-line unicorn/no-array-sort -- this is a method of Jest's class, not of an array
    return [slowest, others].flatMap((group) => super.sort(group));
  }
}
