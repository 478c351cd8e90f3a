import type { DynamicModule, FactoryProvider, ModuleMetadata, Type } from '@nestjs/common';
import { FrameForgeDatabaseModule } from '../database.module.js';
import { ConfigurationError } from '../errors.js';

type Import = NonNullable<ModuleMetadata['imports']>[number];

/** The provider with which `forRoot` or `forRootAsync` resolves its options. */
export type OptionsProvider = Pick<FactoryProvider, 'inject'> & { readonly provide: string };

/**
 * Finds each data source that the modules, or the modules that they import, open by `FrameForgeDatabaseModule`.
 *
 * @throws ConfigurationError if they use `FrameForgeDatabaseModule` only with a data source of the application
 */
export async function findOptionsProviders(imports: readonly Import[]): Promise<OptionsProvider[]> {
  const found = new Map<string, OptionsProvider>();
  const seen = new Set<unknown>();
  let used = false;
  const visit = async (entry: Import): Promise<void> => {
    const given = await entry;
    const module = 'forwardRef' in given ? (given.forwardRef() as Type | DynamicModule) : given;
    if (seen.has(module)) return;
    seen.add(module);
    const dynamic: Partial<DynamicModule> = typeof module === 'function' ? {} : module;
    const moduleClass = dynamic.module ?? module;
    used ||= moduleClass === FrameForgeDatabaseModule;
    for (const provider of dynamic.providers ?? []) {
      if (isOptionsProvider(provider)) found.set(provider.provide, provider);
    }
    const own = (Reflect.getMetadata('imports', moduleClass) ?? []) as Import[];
    for (const next of [...own, ...(dynamic.imports ?? [])]) await visit(next);
  };
  for (const entry of imports) await visit(entry);
  if (used && found.size === 0) {
    throw new ConfigurationError(
      `createTestingApp cannot choose the database of an application that opens its own data source ` +
        `and uses FrameForgeDatabaseModule.forFeature on it. Make a database with ` +
        `createTestDatabase(), give its url to that data source, and boot with @nestjs/testing.`,
    );
  }
  return [...found.values()];
}

/** Whether a provider resolves options. Its token has this end for each data source, with or without a name. */
const isOptionsProvider = (provider: object): provider is OptionsProvider =>
  'provide' in provider &&
  typeof provider.provide === 'string' &&
  provider.provide.endsWith('FrameForgeDatabaseOptions');
