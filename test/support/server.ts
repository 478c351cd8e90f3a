import { createEmptyDatabase } from '../../src/testing/test.database.js';

export interface TestDatabase {
  readonly url: string;
  /** Removes the database, and ends the connections that are still open to it. */
  drop(): Promise<void>;
}

/** An empty database for one test file, on the server of this run: see docs/testing.md. */
export const createDatabase = (): Promise<TestDatabase> => createEmptyDatabase();

/** The URL of another database on the same server. */
export function otherDatabase(databaseUrl: string, name: string): string {
  const url = new URL(databaseUrl);
  url.pathname = name;
  return url.href;
}

/** The URL of the same database on the server itself, if the given URL goes through a pooler. */
export function onServer(databaseUrl: string): string {
  const server = process.env['TEST_ADMIN_URL'];
  if (server === undefined) return databaseUrl;
  return otherDatabase(server, new URL(databaseUrl).pathname);
}
