/** A type as the server sends it: dates are texts in JSON. */
type Json<T> = T extends Date
  ? string
  : T extends (...args: never[]) => unknown
    ? never
    : T extends object
      ? { readonly [K in keyof T]: Json<T[K]> }
      : T;

import type * as types from '../../statistics/statistics.types';

export type Overview = Json<types.Overview>;
export type WorkPoint = Json<types.WorkPoint>;
export type BoundedCount = types.BoundedCount;
export type Due = Json<types.Due>;
export type SchemaState = types.SchemaState;
export type FoundJob = Json<types.FoundJob>;
export type FoundNotification = Json<types.FoundNotification>;
export type NotificationOfJob = Json<types.NotificationOfJob>;
export type JobLife = Json<Omit<types.JobLife, 'job'>> & {
  readonly job: Json<Omit<types.JobInFull, 'parameters' | 'output'>> & {
    readonly parameters: unknown;
    readonly output: unknown;
  };
};
export type FoundJobs = Json<types.Found<types.FoundJob>> & {
  readonly user?: types.UserSeen | null;
};
export type FoundNotifications = Json<types.Found<types.FoundNotification>>;

/** The settings of the server: which actions operators may do. */
export interface Settings {
  readonly actions: readonly string[];
}
