import { createHash } from 'node:crypto';
import { DataSource } from 'typeorm';
import { importClassesFromDirectories } from '../peers/typeorm.internals.js';
import type { PostgresOptions } from '../peers/typeorm.internals.js';

/**
 * Computes a digest of the entities and migrations, as 16 hexadecimal digits. It uses their names and their source
 * texts, so that an edited migration leads to another template.
 */
export async function digestOf(options: PostgresOptions): Promise<string> {
  const { entities, migrations, schema, migrationsTableName, metadataTableName } = options;
  const all = [...Object.values(entities ?? {}), ...Object.values(migrations ?? {})];
  const { logger } = new DataSource(options);
  const patterns = all.filter((item) => typeof item === 'string');
  const loaded = await importClassesFromDirectories(logger, patterns);
  const given = all.filter((item) => typeof item !== 'string');
  const sources = [...given, ...loaded].map(sourceOf);
  return createHash('sha256')
    .update(JSON.stringify([schema, migrationsTableName, metadataTableName, sources]))
    .digest('hex')
    .slice(0, 16);
}

/** Returns the texts of a class and its methods. In code compiled to old JavaScript, a class's text lacks its methods. */
function sourceOf(item: unknown): string[] {
  if (typeof item !== 'function') return [JSON.stringify(item)];
  const properties = Object.values(Object.getOwnPropertyDescriptors(item.prototype));
  return [item.name, item, ...properties.map(({ value }) => value as unknown)].map(String);
}
