import type { Profile } from '../config.ts';
import type { Build } from './build.ts';
import type { Server } from './server.ts';

/** One of those that are compared. */
export interface Subject {
  readonly name: string;
  /** How it is used, for the reader of the results. */
  readonly how: string;
  /** What a turn needs that is not measured. */
  prepare?(): Promise<unknown>;
  /** Takes its turn. @returns the figure, in the scenario's unit */
  measure(): Promise<number>;
}

/** What must hold between the subjects' figures, or for one of them. */
export interface Requirement {
  readonly subject: string;
  /** The subject whose figure is 1; left out where the bounds are figures themselves. */
  readonly against?: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** A figure over time. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  /** Seconds from the start, and the figure. */
  readonly points: readonly (readonly [number, number])[];
  /** What is shown beside it, on the same scale. */
  readonly beside?: Pick<Series, 'name' | 'points'>;
}

/** What a scenario measures with. */
export interface Bench {
  readonly profile: Profile;
  readonly server: Server;
  /** An earlier build of this package, to be compared with this one. */
  readonly baseline: Build | undefined;
  /** An empty database that is dropped at the scenario's end. */
  createDatabase(): Promise<string>;
  /** Calls back at the scenario's end, the last first. */
  onEnd(end: () => Promise<unknown>): void;
  say(line: string): void;
}

/** What a scenario opens for its rounds. */
export interface Opened {
  readonly subjects: readonly Subject[];
  /** Beside those that always hold: of subjects that are not always there. */
  readonly requirements?: readonly Requirement[];
  /** Rounds of this scenario, where the profile's would take too long. */
  readonly rounds?: number;
  readonly warmUps?: number;
  /** What is found out beside the figures, when the rounds are over. */
  conclude?(): { readonly notes?: readonly string[]; readonly series?: readonly Series[] };
}

/** A row of the table of figures. */
export interface Scenario {
  readonly row: number;
  readonly title: string;
  readonly unit: string;
  readonly requirements: readonly Requirement[];
  open(bench: Bench): Promise<Opened>;
}
