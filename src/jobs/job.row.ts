import { hydrate } from '../sql/hydrate.js';
import { VideoJob } from '../schema/entities/index.js';
import type { JobHandle } from './job.inputs.js';
import { JOB_COLUMNS } from './job.columns.js';

export type Row = Record<string, unknown>;

/** @param prefix - what stands before the job's columns in the row */
export const toJob = (row: Row, prefix?: string): VideoJob =>
  hydrate(VideoJob, JOB_COLUMNS, row, prefix);

/** Writes a time in UTC, because `pg` writes dates in the time zone of the process. */
export const timestamp = (date: Date | undefined): string | null => date?.toISOString() ?? null;

/** JSON objects as an array for a statement; null if there are none, which costs nothing. */
export const jsonColumn = (objects: readonly (object | null | undefined)[]): unknown[] | null =>
  objects.some((object) => (object ?? undefined) !== undefined)
    ? objects.map((object) => ((object ?? undefined) === undefined ? null : JSON.stringify(object)))
    : null;

/** Handles as the arrays that the statements take. */
export const handleColumns = (handles: readonly JobHandle[]): unknown[][] => [
  handles.map(({ jobId }) => jobId),
  handles.map(({ runNumber }) => runNumber),
  handles.map(({ workerId }) => workerId),
];
