// What takes long: real processes that are killed and blocked, and servers that crash. npm run test:e2e
import config from './jest.config.mjs';

/** @type {import('jest').Config} */
export default { ...config, testMatch: ['**/*.e2e.ts'], testTimeout: 180_000 };
