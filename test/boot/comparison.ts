import { createDatabase } from '../support/server.js';
import type { Order, Outcome, Replica } from './replica.js';
import { bootTogether, reasonsOf, startReplicas } from './replica.js';

export interface Figures {
  readonly boots: number;
  readonly failed: number;
  /** The reasons of the failures, the most frequent first. */
  readonly reasons: readonly { readonly reason: string; readonly times: number }[];
}

export interface Comparison {
  readonly replicas: number;
  readonly rounds: number;
  /** Whether one replica alone boots. If it does, boots fail only because replicas start together. */
  readonly alone: Record<Order['kind'], Outcome>;
  readonly figures: Record<Order['kind'], Figures>;
}

/** Boots replicas together on empty databases, plain TypeORM and this package in turns. */
export async function compareBoots(replicas: number, rounds: number): Promise<Comparison> {
  const processes = await startReplicas(replicas);
  try {
    const alone = {
      plain: await first(processes.slice(0, 1), 'plain'),
      ours: await first(processes.slice(0, 1), 'ours'),
    };
    const outcomes: Record<Order['kind'], Outcome[]> = { plain: [], ours: [] };
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? (['plain', 'ours'] as const) : (['ours', 'plain'] as const);
      for (const kind of order) outcomes[kind].push(...(await onEmptyDatabase(processes, kind)));
    }
    const figures = { plain: figuresOf(outcomes.plain), ours: figuresOf(outcomes.ours) };
    return { replicas, rounds, alone, figures };
  } finally {
    await Promise.all(processes.map((process) => process.stop()));
  }
}

async function onEmptyDatabase(processes: Replica[], kind: Order['kind']): Promise<Outcome[]> {
  const database = await createDatabase();
  try {
    return await bootTogether(processes, { kind, url: database.url });
  } finally {
    await database.drop();
  }
}

async function first(processes: Replica[], kind: Order['kind']): Promise<Outcome> {
  const [outcome] = await onEmptyDatabase(processes, kind);
  if (outcome === undefined) throw new Error('A comparison needs at least one replica.');
  return outcome;
}

function figuresOf(outcomes: readonly Outcome[]): Figures {
  const counts = new Map<string, number>();
  for (const reason of reasonsOf(outcomes)) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const reasons = [...counts]
    .map(([reason, times]) => ({ reason, times }))
    .toSorted((a, b) => b.times - a.times);
  return { boots: outcomes.length, failed: reasonsOf(outcomes).length, reasons };
}

const row = (name: string, boots: unknown, failed: unknown): string =>
  `${name.padEnd(52)}${String(boots).padStart(6)}${String(failed).padStart(8)}`;

/** The figures as a table that a person reads. */
export function tableOf({ replicas, rounds, figures }: Comparison): string {
  const lines = (name: string, { boots, failed, reasons }: Figures): string[] => [
    row(name, boots, failed),
    ...reasons.map(({ reason, times }) => `${String(times).padStart(8)} × ${reason}`),
  ];
  return [
    `${replicas} replicas started together on an empty database, ${rounds} times`,
    '',
    row('', 'boots', 'failed'),
    ...lines('plain TypeORM, migrationsRun: true', figures.plain),
    ...lines('FrameForgeDatabaseModule', figures.ours),
  ].join('\n');
}
