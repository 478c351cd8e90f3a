import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Pool } from 'pg';
import { DataSource } from 'typeorm';
import { requireValidatorParts } from '../../src/peers/class-validator.internals.js';
import { requirePgParts } from '../../src/peers/pg.internals.js';
import type { PgPool } from '../../src/peers/pg.internals.js';
import { dataSourceOf, requireTypeormParts } from '../../src/peers/typeorm.internals.js';
import { ConfigurationError } from '../../src/errors.js';
import { REPOSITORY } from '../consumer/consumer.project.js';

const versionOf = (library: string): string => {
  const file = join(REPOSITORY, 'node_modules', library, 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
};

const thrownBy = (call: () => unknown): unknown => {
  try {
    return call();
  } catch (error) {
    return error;
  }
};

it('the installed libraries have every private part that this package uses', () => {
  expect(() => requireTypeormParts(new DataSource({ type: 'postgres' }))).not.toThrow();
  expect(() => requirePgParts(new Pool() as unknown as PgPool)).not.toThrow();
  expect(requireValidatorParts).not.toThrow();
});

it('names a missing part of TypeORM, and the version', () => {
  const dataSource = new DataSource({ type: 'postgres' });
  Object.assign(dataSource.driver, { connectedQueryRunners: undefined });
  const error = thrownBy(() => requireTypeormParts(dataSource));
  expect(error).toBeInstanceOf(ConfigurationError);
  expect(error).toHaveProperty(
    'message',
    expect.stringContaining(
      `typeorm ${versionOf('typeorm')}, which lacks driver.connectedQueryRunners.`,
    ),
  );
});

it('names a missing part of pg, and the version', () => {
  const pool = Object.assign(new Pool(), { _clients: undefined }) as unknown as PgPool;
  const error = thrownBy(() => requirePgParts(pool));
  expect(error).toBeInstanceOf(ConfigurationError);
  expect(error).toHaveProperty(
    'message',
    expect.stringContaining(`pg ${versionOf('pg')}, which lacks pool._clients.`),
  );
});

it('finds the data source by either of its names', () => {
  const dataSource = new DataSource({ type: 'postgres' });
  expect(dataSourceOf(dataSource.manager)).toBe(dataSource);
  expect(dataSourceOf({ connection: dataSource } as never)).toBe(dataSource);
});

it('no other file uses private parts of a library', () => {
  const sources = join(REPOSITORY, 'src');
  const notPublic =
    /connectedQueryRunners|\b_clients\b|\b_connecting\b|driver\.postgres|subscribers\.push|class-(validator|transformer)\/|typeorm\/(driver|util|schema-builder)|(manager|runner)\)?\.(dataSource|connection)\b/i;
  const files = readdirSync(sources, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.startsWith('peers/'))
    .filter((file) => notPublic.test(readFileSync(join(sources, file), 'utf8')));
  expect(files).toEqual([]);
});
