import { randomBytes } from 'node:crypto';
import { Client } from 'pg';

export interface TestDatabase {
  url: string;
  /** Removes the database, and ends the connections that are still open to it. */
  drop(): Promise<void>;
}

/**
 * An empty database for one test file, on the server of this run. The tests connect through
 * TEST_DATABASE_URL; where that is a connection pooler, TEST_ADMIN_URL is the server itself, which
 * databases are created and dropped on.
 */
export async function createDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  await administer(`CREATE DATABASE ${name}`);
  const url = new URL(environment('TEST_DATABASE_URL'));
  url.pathname = name;
  return { url: url.href, drop: () => administer(`DROP DATABASE ${name} WITH (FORCE)`) };
}

/** The same database on the server itself, where the URL goes through a pooler. */
export function onServer(databaseUrl: string): string {
  const url = new URL(adminUrl());
  url.pathname = new URL(databaseUrl).pathname;
  return url.href;
}

async function administer(statement: string): Promise<void> {
  const client = new Client({ connectionString: adminUrl() });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

const adminUrl = (): string => process.env['TEST_ADMIN_URL'] ?? environment('TEST_DATABASE_URL');

function environment(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run the tests with npm test.`);
  return value;
}
