// A process that acts as a test of an application. It makes a database, and reports its URL, or why it cannot make
// one.
import { createTestDatabase } from '../../src/testing/index.js';

try {
  await using database = await createTestDatabase();
  const dataSource = await database.dataSource();
  const [told] = await dataSource.query<[object]>(
    `SELECT inet_server_addr() IS NULL AS "socket",
       (SELECT schemaname FROM pg_tables WHERE tablename = 'video_jobs') AS "schema"`,
  );
  process.send?.(told);
} catch (error) {
  process.send?.((error as Error).message);
} finally {
  process.disconnect?.();
}
