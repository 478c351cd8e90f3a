import type { DataSource, Logger } from 'typeorm';
import type { Statement } from '../../src/sql/statement.js';
import type { Tables } from '../../src/schema/tables.js';
import { tablesOf } from '../../src/schema/tables.js';

const silent = (): void => {};

/** Counts the statements that a data source sends. */
export class Statements implements Logger {
  readonly logQueryError = silent;
  readonly logQuerySlow = silent;
  readonly logSchemaBuild = silent;
  readonly logMigration = silent;
  readonly log = silent;
  private readonly counts = new Map<string, number>();

  logQuery(text: string): void {
    this.counts.set(text, (this.counts.get(text) ?? 0) + 1);
  }

  /** How often any of these statements was sent. */
  count(dataSource: DataSource, ...makes: ((tables: Tables) => Statement)[]): number {
    const tables = tablesOf(dataSource);
    return makes.reduce((sum, make) => sum + (this.counts.get(make(tables).text) ?? 0), 0);
  }
}
