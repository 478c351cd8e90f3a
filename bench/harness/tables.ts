import type { Machine } from './machine.ts';
import { format } from './rounds.ts';
import type { RequirementResult, ScenarioResult } from './rounds.ts';

/** The results of a run, and its machine. */
export interface MeasuredScenario extends ScenarioResult {
  readonly measuredAt: string;
  readonly machine: Machine;
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** The requirements, and whether they are met. */
export const ratiosOf = (all: readonly MeasuredScenario[]): string =>
  table(
    ['#', 'what', 'must reach', 'measured', 'holds'],
    all.flatMap(({ row, title, unit, requirements }) =>
      requirements.map((requirement) => [
        String(row),
        title,
        wantedOf(requirement, unit),
        `**${valueOf(requirement, unit)}**`,
        requirement.holds ? 'yes' : 'no',
      ]),
    ),
  );

/** All figures, and how they were measured. */
export const figuresOf = (all: readonly MeasuredScenario[]): string =>
  table(
    ['#', 'who', 'median', 'rounds', 'how'],
    all.flatMap(({ row, subjects, unit, rounds }) =>
      subjects.map(({ name, median, lowest, highest, how }) => [
        String(row),
        name,
        `${format(median)} ${unit}`,
        rounds === 1 ? '' : `${format(lowest)} – ${format(highest)}`,
        how,
      ]),
    ),
  );

export const notesOf = (all: readonly MeasuredScenario[]): string =>
  all.flatMap(({ row, notes }) => notes.map((note) => `- Row ${row}: ${note}`)).join('\n');

function wantedOf({ subject, against, atLeast, atMost }: RequirementResult, unit: string): string {
  const bound = atLeast === undefined ? `≤ ${format(atMost ?? NaN)}` : `≥ ${format(atLeast)}`;
  const what = subject === 'this package' ? '' : `${subject} `;
  return against === undefined ? `${what}${bound} ${unit}` : `${what}${bound} × ${against}`;
}

function valueOf({ against, value }: RequirementResult, unit: string): string {
  return against === undefined ? `${format(value)} ${unit}` : `${format(value)} ×`;
}

/** Describes the machines. Rows that were measured on the same machine share one line. */
export function machinesOf(all: readonly MeasuredScenario[]): string {
  const described = Map.groupBy(all, ({ machine }) => describe(machine));
  const parts = [...described].map(([description, results]) => {
    const rows = results.map(({ row, measuredAt, rounds, seconds }) => {
      const round = rounds === 1 ? '1 round' : `${rounds} rounds`;
      return `${row} (${measuredAt.slice(0, 10)}, ${round}, ${Math.round(seconds)} s)`;
    });
    return `${description}\n\nRows ${rows.join(', ')}.`;
  });
  return parts.join('\n\n');
}

const list = (values: Readonly<Record<string, string>>): string =>
  Object.entries(values)
    .map(([name, value]) => `\`${name}\` ${value}`)
    .join(', ');

/** Describes a machine as a list in Markdown. */
export const describe = (machine: Machine): string =>
  [
    `- ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}; server and clients share them`,
    `- PostgreSQL ${machine.postgresql}: ${list(machine.settings)}`,
    `- Node ${machine.node}; ${list(machine.versions)}`,
  ].join('\n');
