import { AbstractLogger } from 'typeorm';
import type { QueryRunner } from 'typeorm';

/** Keeps everything that TypeORM logs at its highest level. */
export class EveryLevel extends AbstractLogger {
  constructor(private readonly note: (...parts: unknown[]) => void) {
    super('all');
  }
  protected writeLog(...parts: unknown[]): void {
    this.note(...parts);
  }
  override logQuery(query: string, parameters?: unknown[], runner?: QueryRunner): void {
    this.note('query', query, parameters, runner === undefined);
  }
  override logQueryError(error: string | Error, query: string, parameters?: unknown[]): void {
    this.note('error', error, query, parameters);
  }
  override logQuerySlow(time: number, query: string, parameters?: unknown[]): void {
    this.note('slow', time, query, parameters);
  }
}
