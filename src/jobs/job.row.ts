import { hydrate } from '../sql/hydrate.js';
import { VideoJob } from '../schema/entities/index.js';
import type { JobHandle } from './job.inputs.js';
import { JOB_COLUMNS } from './job.columns.js';

export type Row = Record<string, unknown>;

/** @param prefix - the prefix of the names of the job's columns in the row */
export const toJob = (row: Row, prefix?: string): VideoJob =>
  hydrate(VideoJob, JOB_COLUMNS, row, prefix);

/** Writes a time in UTC, because `pg` writes dates in the time zone of the process. */
export const timestamp = (date: Date | undefined): string | null => date?.toISOString() ?? null;

export const json = (object: object | null | undefined): string | null =>
  (object ?? null) === null ? null : JSON.stringify(object);

/** A column of values for a statement; null if there are none, because null costs nothing. */
export const sparseColumn = (values: readonly unknown[]): readonly unknown[] | null =>
  values.some((value) => value !== null) ? values : null;

/** Converts handles to the arrays that the statements take. */
export const handleColumns = (handles: readonly JobHandle[]): unknown[][] => [
  handles.map(({ jobId }) => jobId),
  handles.map(({ runNumber }) => runNumber),
  handles.map(({ workerId }) => workerId),
];
