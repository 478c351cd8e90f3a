/** Stops what global-setup started: called a second time, it is the teardown. */
export { default } from '../../src/testing/jest-setup.js';
