// Jest loads its global setup and teardown with plain Node: make that read TypeScript.
import './test/support/typescript.mjs';
import { useMemoryDisk } from './test/support/memory-disk.mjs';

useMemoryDisk();

/** @type {import('jest').Config} */
export default {
  rootDir: import.meta.dirname,
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['ts-jest', { useESM: true, tsconfig: '<rootDir>/tsconfig.json' }] },
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    // The examples import the package by its name.
    '^@frameforge/shared-types$': '<rootDir>/src/index.ts',
    '^@frameforge/shared-types/worker$': '<rootDir>/src/worker/index.ts',
  },
  testEnvironment: 'node',
  testTimeout: 60_000,
  // Two processors do three: one of them mostly waits.
  maxWorkers: 3,
  // A new process takes the place of one that holds more. At the end of a run, a process with a heap of more than a
  // gigabyte needs longer to exit than Jest allows, and Jest would warn of a leak.
  workerIdleMemoryLimit: '700MB',
  testSequencer: '<rootDir>/test/support/sequencer.mjs',
  cacheDirectory: '<rootDir>/node_modules/.cache/jest',
  globalSetup: '<rootDir>/test/support/global-setup.mts',
  globalTeardown: '<rootDir>/test/support/global-teardown.mts',
};
