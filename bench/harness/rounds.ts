import type { Opened, Requirement, Scenario, Series, Subject } from './scenario.ts';
import type { Profile } from '../config.ts';

export interface SubjectResult {
  readonly name: string;
  readonly how: string;
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
  /** The figure of each round. */
  readonly figures: readonly number[];
}

export interface RequirementResult extends Requirement {
  readonly value: number;
  readonly holds: boolean;
}

export interface ScenarioResult {
  readonly row: number;
  readonly title: string;
  readonly unit: string;
  readonly rounds: number;
  readonly subjects: readonly SubjectResult[];
  readonly requirements: readonly RequirementResult[];
  readonly notes: readonly string[];
  readonly series: readonly Series[];
  readonly seconds: number;
}

/**
 * Gives every subject one turn in every round, so that other work of the machine slows all of them in the same way.
 * Each round begins with another subject, so that no subject always comes after the same one.
 *
 * @param only - the subjects that take part
 */
export async function runRounds(
  { row, title, unit, requirements }: Scenario,
  { subjects: all, rounds, warmUps, conclude, requirements: more = [] }: Opened,
  profile: Profile,
  only: RegExp,
  tell: (line: string) => void,
): Promise<Omit<ScenarioResult, 'seconds'>> {
  const subjects = all.filter(({ name }) => only.test(name));
  if (subjects.length === 0) throw new Error(`No subject of row ${row} matches ${only}.`);
  const figures = new Map(subjects.map(({ name }) => [name, [] as number[]]));
  const counted = rounds ?? profile.rounds;
  const uncounted = warmUps ?? profile.warmUps;
  for (let round = -uncounted; round < counted; round += 1) {
    const turn = (round + uncounted) % subjects.length;
    const order = [...subjects.slice(turn), ...subjects.slice(0, turn)];
    for (const subject of order) {
      const figure = await takeTurn(subject);
      if (round >= 0) figures.get(subject.name)?.push(figure);
    }
    if (round >= 0) {
      const shown = subjects.map(({ name }) => `${name} ${format(figures.get(name)?.at(-1) ?? 0)}`);
      tell(`round ${round + 1} of ${counted}: ${shown.join(', ')}`);
    }
  }
  const results = subjects.map(({ name, how }) => {
    const own = figures.get(name) ?? [];
    return {
      name,
      how,
      median: median(own),
      lowest: Math.min(...own),
      highest: Math.max(...own),
      figures: own,
    };
  });
  const { notes = [], series = [] } = conclude?.() ?? {};
  return {
    row,
    title,
    unit,
    rounds: counted,
    subjects: results,
    requirements: [...requirements, ...more]
      .filter(({ subject, against = subject }) => only.test(subject) && only.test(against))
      .map((requirement) => verdict(requirement, figures)),
    notes,
    series,
  };
}

async function takeTurn(subject: Subject): Promise<number> {
  await subject.prepare?.();
  // Garbage of the subjects before this one is collected now, and not during the measurement.
  globalThis.gc?.();
  const figure = await subject.measure();
  if (!Number.isFinite(figure) || figure <= 0) {
    throw new Error(`${subject.name} measured nothing (${figure}).`);
  }
  return figure;
}

/**
 * Ratios are computed for each round, because the state of the machine is most similar in two turns of the same
 * round.
 */
function verdict(
  requirement: Requirement,
  figures: ReadonlyMap<string, readonly number[]>,
): RequirementResult {
  const { subject, against, atLeast = -Infinity, atMost = Infinity } = requirement;
  const own = figuresOf(figures, subject);
  const others = against === undefined ? undefined : figuresOf(figures, against);
  const value = median(own.map((figure, round) => figure / (others?.[round] ?? 1)));
  return { ...requirement, value, holds: value >= atLeast && value <= atMost };
}

function figuresOf(
  figures: ReadonlyMap<string, readonly number[]>,
  name: string,
): readonly number[] {
  const found = figures.get(name);
  if (found === undefined) throw new Error(`No subject is called ${name}.`);
  return found;
}

export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = NaN, high = NaN] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}

/** @param share - 0.99 for the 99th percentile */
export function percentile(figures: readonly number[], share: number): number {
  const sorted = figures.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.ceil(share * sorted.length), sorted.length) - 1] ?? NaN;
}

/** Rounds to three significant digits. */
export function format(figure: number): string {
  return figure.toLocaleString('en-US', {
    maximumFractionDigits: figure >= 100 ? 0 : figure >= 10 ? 1 : 2,
  });
}
