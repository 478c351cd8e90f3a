import type { DataSource, MigrationInterface, QueryRunner } from 'typeorm';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import { resolveOptions } from '../../src/database.options.js';

/** A boot in this process, and what it logged. */
export class Boot {
  readonly told: string[] = [];
  readonly logger = {
    log: (message: string) => void this.told.push(message),
    warn: (message: string) => void this.told.push(message),
  };

  open(options: FrameForgeDatabaseOptions): Promise<DataSource> {
    const { dataSource, boot } = resolveOptions(options);
    return openDataSource(dataSource, boot, this.logger);
  }
}

/** Boots, closes, and returns what was logged. */
export async function bootOnce(options: FrameForgeDatabaseOptions): Promise<string[]> {
  const boot = new Boot();
  const dataSource = await boot.open(options);
  await dataSource.destroy();
  return boot.told;
}

/** The error of a boot that must fail, and what was logged before it. */
export async function failedBoot(
  options: FrameForgeDatabaseOptions,
): Promise<{ error: Error; told: string[] }> {
  const boot = new Boot();
  const outcome = await boot.open(options).catch((error: unknown) => error as Error);
  if (outcome instanceof Error) return { error: outcome, told: boot.told };
  await outcome.destroy();
  throw new Error('The boot was to fail, and succeeded.');
}

/** A migration of the host application. */
export function migration(
  name: string,
  up: (queryRunner: QueryRunner) => Promise<unknown>,
  { transaction, down }: Partial<MigrationInterface> = {},
): new () => MigrationInterface {
  return class {
    readonly name = name;
    readonly transaction = transaction;
    up = up;
    down = down ?? (async () => {});
  };
}
