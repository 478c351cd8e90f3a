import type { DataSource, MigrationInterface, QueryRunner } from 'typeorm';
import { MigrationError } from '../errors.js';
import type { PgClient, PgResult } from '../peers/pg.internals.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import type { FoundColumn } from './older.database.js';
import { columnsQuery } from './older.database.js';

/** A migration that a data source has. */
export interface KnownMigration {
  readonly name: string;
  readonly timestamp: number;
  readonly instance: MigrationInterface;
}

/**
 * The migrations of a data source, in the order of their timestamps, in which they run.
 *
 * @throws MigrationError if two have one name, or a name does not end in a timestamp
 */
export function knownMigrations(dataSource: DataSource): KnownMigration[] {
  const known = dataSource.migrations.map((instance) => {
    const name = instance.name ?? instance.constructor.name;
    return { name, timestamp: Number.parseInt(name.slice(-13), 10), instance };
  });
  const names = known.map(({ name }) => name);
  const twice = names.filter((name, index) => names.indexOf(name) < index);
  const nameless = known.filter(({ timestamp }) => !(timestamp > 0)).map(({ name }) => name);
  const problems = [
    ...(twice.length > 0 ? [`Duplicate migrations: ${[...new Set(twice)].join(', ')}`] : []),
    ...(nameless.length > 0
      ? [`the name of ${nameless.join(', ')} does not end in a timestamp of 13 digits`]
      : []),
  ];
  if (problems.length > 0) {
    throw new MigrationError(
      `This application's migrations cannot run: ${problems.join('; ')}. Rename them.`,
    );
  }
  return known.toSorted((a, b) => a.timestamp - b.timestamp);
}

interface Row {
  readonly names?: string;
  readonly columns: string;
}

/**
 * The record of applied migrations in the database. This package's migrations are recorded in the table
 * `migrations`, which TypeORM's commands and other services read too. The application's migrations are
 * recorded there as well, or in a table of the application (`migrationsTableName`). If that table already
 * has this package's migrations, they stay there.
 */
export class MigrationRecord {
  private readonly shared: string;
  private readonly own: string;
  /** The table that records this package's migrations. */
  private home: string;
  private readonly absent = new Set<string>();
  private found: FoundColumn[] | undefined;

  /** @param runner - the connection for all statements */
  constructor(
    private readonly dataSource: DataSource,
    private readonly runner: QueryRunner,
  ) {
    const { schema, migrationsTableName = 'migrations' } = dataSource.options as {
      schema?: string;
      migrationsTableName?: string;
    };
    const sql = (table: string): string =>
      (schema === undefined ? [table] : [schema, table])
        .map((part) => dataSource.driver.escape(part))
        .join('.');
    this.shared = sql('migrations');
    this.own = sql(migrationsTableName);
    this.home = this.shared;
  }

  /**
   * Reads the names of the applied migrations, in the order in which they ran. If the application has a table
   * of its own, this package's migrations come first. Changes nothing, so that a role without rights on the
   * schema may call it. Call it once outside of a transaction before you call it inside of one.
   */
  async applied(): Promise<string[]> {
    const own = await this.read(this.own);
    if (this.own === this.shared) return own;
    if (own.some(isFrameForgeMigration)) {
      this.home = this.own;
      return own;
    }
    return [...(await this.read(this.shared)), ...own];
  }

  /** The columns of those of the first three tables that exist, as they were last read. */
  async columns(): Promise<readonly FoundColumn[]> {
    if (this.found === undefined) {
      const [row] = (await this.runner.query(columnsQuery(this.dataSource))) as Row[];
      this.found = JSON.parse(row?.columns ?? '[]') as FoundColumn[];
    }
    return this.found;
  }

  /** Creates the tables of the record if they are missing, as TypeORM would. */
  async create(): Promise<void> {
    for (const table of new Set([this.home, this.own])) {
      const [row] = (await this.runner.query(`SELECT to_regclass($1) IS NOT NULL AS "there"`, [
        table,
      ])) as { there: boolean }[];
      if (row?.there === true) continue;
      await this.runner.query(
        `CREATE TABLE ${table} ("id" serial PRIMARY KEY, "timestamp" bigint NOT NULL, "name" varchar NOT NULL)`,
      );
    }
    this.absent.clear();
  }

  async add({ name, timestamp }: KnownMigration): Promise<void> {
    const table = isFrameForgeMigration(name) ? this.home : this.own;
    await this.runner.query(`INSERT INTO ${table} ("timestamp", "name") VALUES ($1, $2)`, [
      timestamp,
      name,
    ]);
  }

  async remove({ name }: KnownMigration): Promise<void> {
    const table = isFrameForgeMigration(name) ? this.home : this.own;
    await this.runner.query(`DELETE FROM ${table} WHERE "name" = $1`, [name]);
  }

  private async read(table: string, isFirst = true): Promise<string[]> {
    if (this.absent.has(table)) return [];
    // One round trip reads both, as texts, because the application may have its own parsers for other types.
    const query = `
      SELECT (SELECT coalesce(json_agg("name" ORDER BY "id"), '[]')::text FROM ${table}) AS "names",
        (${columnsQuery(this.dataSource)}) AS "columns"`;
    try {
      // It uses pg's client, because TypeORM would log the missing table of a new database as a failed query.
      const client = (await this.runner.connect()) as PgClient;
      this.dataSource.logger.logQuery(query, [], this.runner);
      const [row] = ((await client.query(query)) as PgResult).rows as Row[];
      this.found = JSON.parse(row?.columns ?? '[]') as FoundColumn[];
      return JSON.parse(row?.names ?? '[]') as string[];
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === '42P01') {
        this.found = undefined;
        // Another replica may have created all tables since. Record and columns must be of one moment.
        if (isFirst && (await this.columns()).length > 0) return this.read(table, false);
        this.absent.add(table);
        return [];
      }
      if (code === '42703') {
        throw new MigrationError(
          `The table ${table} was made by another tool, not by TypeORM. Give this ` +
            `package its own schema with the option \`schema\`. A schema that is missing is created.`,
          { cause: error },
        );
      }
      throw error;
    }
  }
}
