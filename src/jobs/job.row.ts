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

/** Converts JSON objects to an array for a statement; null if there are none, because null costs nothing. */
export const jsonColumn = (objects: readonly (object | null | undefined)[]): unknown[] | null =>
  objects.some((object) => (object ?? undefined) !== undefined)
    ? objects.map((object) => ((object ?? undefined) === undefined ? null : JSON.stringify(object)))
    : null;

/** Converts handles to the arrays that the statements take. */
export const handleColumns = (handles: readonly JobHandle[]): unknown[][] => [
  handles.map(({ jobId }) => jobId),
  handles.map(({ runNumber }) => runNumber),
  handles.map(({ workerId }) => workerId),
];
