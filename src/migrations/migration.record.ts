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
 * The migrations of a data source, in the order in which they run: that of their timestamps.
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
 * What the database has recorded of migrations. This package's are in the table `migrations`, which
 * TypeORM's commands and other services read too. The application's are there as well, or in a table
 * of its own (`migrationsTableName`). Where that has this package's already, they stay there.
 */
export class MigrationRecord {
  private readonly shared: string;
  private readonly own: string;
  /** The table that has this package's. */
  private home: string;
  private readonly absent = new Set<string>();
  private found: FoundColumn[] | undefined;

  /** @param runner - a connection, on which every statement runs */
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
   * The names of what was run, in that order; this package's before those of an application that has
   * a table of its own. Changes nothing, so that a role without rights on the schema may ask. Asks
   * once outside of a transaction, before it may be asked in one.
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

  /** The columns of the first three tables that are there, as of the last reading. */
  async columns(): Promise<readonly FoundColumn[]> {
    if (this.found === undefined) {
      const [row] = (await this.runner.query(columnsQuery(this.dataSource))) as Row[];
      this.found = JSON.parse(row?.columns ?? '[]') as FoundColumn[];
    }
    return this.found;
  }

  /** Makes the tables where they are still missing, as TypeORM would. */
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
    // Both in one round trip, as texts: a host may have parsers of its own for other types.
    const query = `
      SELECT (SELECT coalesce(json_agg("name" ORDER BY "id"), '[]')::text FROM ${table}) AS "names",
        (${columnsQuery(this.dataSource)}) AS "columns"`;
    try {
      // By pg's client: TypeORM would log the missing table of a new database as a failed query.
      const client = (await this.runner.connect()) as PgClient;
      this.dataSource.logger.logQuery(query, [], this.runner);
      const [row] = ((await client.query(query)) as PgResult).rows as Row[];
      this.found = JSON.parse(row?.columns ?? '[]') as FoundColumn[];
      return JSON.parse(row?.names ?? '[]') as string[];
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === '42P01') {
        this.found = undefined;
        // Another replica may have made it since, with the tables: both must be of one moment.
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
