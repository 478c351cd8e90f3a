import type { Profile } from '../config.ts';
import type { Build } from './build.ts';
import type { Server } from './server.ts';

/** One of the programs that are compared. */
export interface Subject {
  readonly name: string;
  /** How the subject is used. The results show this text. */
  readonly how: string;
  /** Prepares a turn. The time for this is not measured. */
  prepare?(): Promise<unknown>;
  /** Runs a turn. @returns the figure, in the unit of the scenario */
  measure(): Promise<number>;
}

/** A condition for the figure of a subject, or for its ratio to that of another one. */
export interface Requirement {
  readonly subject: string;
  /** The other subject of the ratio. If left out, the bounds are figures. */
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
  /** A curve that is shown beside this one, on the same scale. */
  readonly beside?: Pick<Series, 'name' | 'points'>;
}

/** The tools of a scenario. */
export interface Bench {
  readonly profile: Profile;
  readonly server: Server;
  /** An earlier build of this package, which is compared with this one. */
  readonly baseline: Build | undefined;
  /** Creates an empty database, which is dropped at the end of the scenario. */
  createDatabase(): Promise<string>;
  /** Adds a function that is called at the end of the scenario. The last one is called first. */
  onEnd(end: () => Promise<unknown>): void;
  say(line: string): void;
}

/** The subjects of a scenario, opened for its rounds. */
export interface Opened {
  readonly subjects: readonly Subject[];
  /** Further requirements, for subjects that take part only sometimes. */
  readonly requirements?: readonly Requirement[];
  /** The number of rounds of this scenario, if that of the profile would take too long. */
  readonly rounds?: number;
  readonly warmUps?: number;
  /** Returns further results after the last round. */
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
