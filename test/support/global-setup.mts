/** Once a run: starts the server that all test files share, unless TEST_DATABASE_URL names one. */
export { default } from '../../src/testing/jest-setup.js';
