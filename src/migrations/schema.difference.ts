/** One difference between the database and the entities. */
export interface Difference {
  /** The object that differs, such as `column "users"."email"`. */
  readonly what: string;
  /** The definition by the entities; undefined if they do not have it. */
  readonly should?: string;
  /** The definition in the database; undefined if it does not have it. */
  readonly is?: string;
  /** Whether TypeORM would lose data here: it would drop the object and create it again. */
  readonly losesData?: boolean;
}

/** Describes a difference in words, without a statement that somebody could run. */
export function describe({ what, should, is, losesData = false }: Difference): string {
  const said =
    should === undefined
      ? `${what} exists, but no entity defines it: ${is}`
      : is === undefined
        ? `${what} is missing${should === '' ? '' : `: it should be ${should}`}`
        : `${what} should be ${should}, but is ${is}`;
  return losesData ? `${said} [!]` : said;
}

/** The object that a statement creates. */
interface Made {
  readonly what: string;
  readonly definition: string;
  /** A name by content, for an object whose own name does not matter, such as a unique constraint. */
  readonly alias?: string;
  readonly holdsData?: boolean;
}

/**
 * Reads TypeORM's statements as differences. The statements of `up` create what the entities define. The
 * statements of `down` create what the database has. No statement is shown to anybody, because TypeORM changes
 * the type of a column by dropping the column.
 *
 * @param up - the statements that would change the database to match the entities
 * @param down - the statements that would undo `up`
 */
export function differencesOf(up: readonly string[], down: readonly string[]): Difference[] {
  const should = new Map(up.flatMap(readStatement).map((made) => [made.alias ?? made.what, made]));
  const is = new Map(down.flatMap(readStatement).map((made) => [made.alias ?? made.what, made]));
  const differences: Difference[] = [];
  for (const key of new Set([...should.keys(), ...is.keys()])) {
    const [wanted, found] = [should.get(key), is.get(key)];
    const { what } = wanted ?? (found as Made);
    // If a table is missing, its parts are not listed one by one.
    if (should.has(`table ${/ of (.*)$/.exec(what)?.[1]}`)) continue;
    // If TypeORM creates a column again, it also creates the column's indexes and constraints again, unchanged.
    if (wanted !== undefined && found !== undefined && isRemade(wanted, found)) continue;
    differences.push({
      what,
      should: wanted?.definition,
      is: found?.definition,
      losesData: found?.holdsData ?? false,
    });
  }
  return differences;
}

/** Whether an index or constraint stays as it was. It ignores expressions, which `expressionDrift` compares. */
const isRemade = (wanted: Made, found: Made): boolean =>
  [wanted, found].every(({ what }) => /^(index|constraint)/.test(what)) &&
  plain(wanted.definition) === plain(found.definition);

const plain = (definition: string): string =>
  definition
    .replace(/USING btree /, '')
    .replace(/ WHERE .*/, '')
    .replace(/^CHECK.*/, 'CHECK')
    .trim();

function readStatement(statement: string): Made[] {
  const [, table = '', rest] = /^ALTER TABLE (\S+|".+?") (.*)$/s.exec(statement) ?? [];
  if (rest !== undefined) return readAlteration(table, rest);
  const index = /^CREATE (UNIQUE )?INDEX (".+?") ON (.+?) +((?:USING \w+ )?\(.*)$/s.exec(statement);
  if (index !== null) {
    const [, unique = '', name, on, columns = ''] = index;
    return [{ what: `index ${name} of ${on}`, definition: `${unique}${columns}`.trim() }];
  }
  const [, kind = '', name, definition = ''] =
    /^CREATE (\w+(?: VIEW)?) (".+?"(?:\.".+?")?) ?(.*)$/s.exec(statement) ?? [];
  if (name !== undefined) {
    return kind === 'TABLE'
      ? [{ what: `table ${name}`, definition: '', holdsData: true }]
      : [{ what: `${kind.toLowerCase()} ${name}`, definition }];
  }
  // A DROP undoes a CREATE of the other direction. Only the CREATE is read.
  if (statement.startsWith('DROP')) return [];
  const [, comment, text] = /^COMMENT ON (COLUMN .+) IS (.*)$/s.exec(statement) ?? [];
  if (comment !== undefined) return [{ what: `comment on ${comment}`, definition: text ?? '' }];
  return [{ what: 'the rest', definition: statement }];
}

function readAlteration(table: string, rest: string): Made[] {
  const [, constraint, definition = ''] = /^ADD CONSTRAINT (".+?") (.*)$/s.exec(rest) ?? [];
  if (constraint !== undefined) {
    const alias = definition.startsWith('UNIQUE') ? `${table} ${definition}` : undefined;
    return [{ what: `constraint ${constraint} of ${table}`, definition, alias }];
  }
  const [, added, type = ''] = /^ADD (".+?") (.*)$/s.exec(rest) ?? [];
  if (added !== undefined) {
    return [{ what: `column ${table}.${added}`, definition: type, holdsData: true }];
  }
  const [, altered, change = ''] = /^ALTER COLUMN (".+?") (.*)$/s.exec(rest) ?? [];
  if (altered === undefined) return [];
  const column = `column ${table}.${altered}`;
  if (change.startsWith('TYPE ')) {
    return [{ what: `type of ${column}`, definition: change.slice(5), holdsData: true }];
  }
  const what = change.endsWith('NOT NULL') ? `null in ${column}` : `default of ${column}`;
  const words: Readonly<Record<string, string>> = {
    'SET NOT NULL': 'refused',
    'DROP NOT NULL': 'allowed',
    'DROP DEFAULT': 'none',
  };
  return [{ what, definition: words[change] ?? change.replace(/^SET DEFAULT /, '') }];
}
