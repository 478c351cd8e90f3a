import { hookEndOfFile } from './end.of.file.js';

export { elapse } from './elapse.js';
export type { Fixture } from './fixture.js';
export { notificationFixture } from './notification.fixture.js';
export type { NotificationValues } from './notification.fixture.js';
export { withRollback } from './rollback.js';
export { createTestDatabase } from './test.database.js';
export type { TestDatabase, TestDatabaseOptions } from './test.database.js';
export { createTestingApp } from './testing.app.js';
export type { TestingApp, TestingAppOptions } from './testing.app.js';
export { userFixture } from './user.fixture.js';
export type { UserValues } from './user.fixture.js';
export { videoJobFixture } from './video-job.fixture.js';
export type { VideoJobValues } from './video-job.fixture.js';
export { waitForJob, workOff } from './work.off.js';
export type { WaitOptions } from './work.off.js';

// This is the only import of this package that has a side effect. Test runners accept hooks only while they read a
// file, but test databases are mostly made later, in a hook.
hookEndOfFile();
