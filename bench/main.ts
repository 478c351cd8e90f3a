import { mkdtempSync } from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { profiles } from './config.ts';
import type { Profile } from './config.ts';
import { loadBuild } from './harness/build.ts';
import { describeMachine } from './harness/machine.ts';
import { updatePage, writeReport } from './harness/report.ts';
import { runRounds } from './harness/rounds.ts';
import type { ScenarioResult } from './harness/rounds.ts';
import type { Scenario } from './harness/scenario.ts';
import { startServer } from './harness/server.ts';
import type { Server } from './harness/server.ts';
import { describe, figuresOf, notesOf, ratiosOf } from './harness/tables.ts';
import type { MeasuredScenario } from './harness/tables.ts';
import { createJob } from './scenarios/1-create-job.ts';
import { createJobs } from './scenarios/2-create-jobs.ts';
import { claimAndComplete } from './scenarios/3-claim-and-complete.ts';
import { drain } from './scenarios/4-drain.ts';
import { growth } from './scenarios/5-growth.ts';
import { listJobs } from './scenarios/6-list-jobs.ts';
import { idleTransaction } from './scenarios/7-idle-transaction.ts';
import { boot } from './scenarios/8-boot.ts';
import { memory } from './scenarios/9-memory.ts';
import { fairOrder } from './scenarios/10-fair-order.ts';
import { fairIndex } from './scenarios/11-fair-index.ts';
import { waits } from './scenarios/12-waits.ts';
import { consolePages } from './scenarios/13-console.ts';

const SCENARIOS: readonly Scenario[] = [
  createJob,
  createJobs,
  claimAndComplete,
  drain,
  growth,
  listJobs,
  idleTransaction,
  boot,
  memory,
  fairOrder,
  fairIndex,
  waits,
  consolePages,
];

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const { values, positionals } = parseArgs({
  options: {
    smoke: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    baseline: { type: 'string' },
    only: { type: 'string' },
  },
  allowPositionals: true,
});
const profile: Profile = {
  ...(values.smoke ? profiles.smoke : profiles.full),
  ...(values.rounds === undefined ? {} : { rounds: Number(values.rounds) }),
};
const baseline = values.baseline === undefined ? undefined : await loadBuild(values.baseline);
const only = new RegExp(values.only ?? '');
const chosen = positionals.length === 0 ? SCENARIOS : positionals.map(scenarioOf);
await main();

function scenarioOf(row: string): Scenario {
  const found = SCENARIOS.find((scenario) => String(scenario.row) === row);
  if (found === undefined)
    throw new Error(`There is no row ${row}: name rows from 1 to ${SCENARIOS.length}.`);
  return found;
}

async function main(): Promise<void> {
  const start = performance.now();
  const server = await startServer(profile);
  try {
    const machine = describeMachine(server);
    say(`${describe(machine)}\n- profile ${profile.name}`);
    for (const scenario of chosen) {
      const result = await measure(scenario, server);
      await keep({ ...result, measuredAt: new Date().toISOString(), machine });
    }
  } finally {
    await server.stop();
  }
  say(`\nThe bench took ${((performance.now() - start) / 60_000).toFixed(1)} min.`);
}

async function measure(scenario: Scenario, server: Server): Promise<ScenarioResult> {
  say(`\n=== ${scenario.row}. ${scenario.title}`);
  const start = performance.now();
  const ends: (() => Promise<unknown>)[] = [];
  const onEnd = (end: () => Promise<unknown>): void => void ends.unshift(end);
  const createDatabase = async (): Promise<string> => {
    const url = await server.createDatabase();
    onEnd(() => server.dropDatabase(url));
    return url;
  };
  try {
    const opened = await scenario.open({ profile, server, baseline, createDatabase, onEnd, say });
    await server.checkpoint();
    const result = await runRounds(scenario, opened, profile, only, say);
    return { ...result, seconds: (performance.now() - start) / 1_000 };
  } finally {
    for (const end of ends) await end();
  }
}

function pathOf(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/**
 * Stores a result. If only some subjects were measured, the result is only shown. The smoke profile writes to a
 * temporary folder, to test that writing works.
 */
async function keep(result: MeasuredScenario): Promise<void> {
  if (profile.name === 'full') {
    say([ratiosOf([result]), figuresOf([result]), notesOf([result])].join('\n\n').trim());
    if (values.only !== undefined) return;
    await writeReport(pathOf('results'), [result]);
    await updatePage(pathOf('../docs/performance.md'), pathOf('results'), '../bench/results');
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'frameforge-bench-results-'));
  try {
    const page = join(directory, 'performance.md');
    await copyFile(pathOf('../docs/performance.md'), page);
    await writeReport(directory, [result]);
    await updatePage(page, directory, '.');
  } finally {
    await rm(directory, { recursive: true });
  }
}
