import type { SqlRunner } from '../../sql/sql.runner.js';
import { announceMoved } from '../job.changes.js';
import { handleColumns } from '../job.row.js';
import type { ProgressReport } from './control.inputs.js';
import { reportProgress as statement } from './job.progress.sql.js';

/** The outcome of a report about one run that is still held. */
export interface ReportedProgress {
  readonly jobId: string;
  readonly written: boolean;
  /** The row was locked: the statement wrote nothing and did not wait. */
  readonly locked: boolean;
}

/** Writes the progress of runs in one statement. @returns the runs that are still held */
export async function reportProgress(
  db: SqlRunner,
  reports: readonly ProgressReport[],
): Promise<ReportedProgress[]> {
  if (reports.length === 0) return [];
  const values = [
    ...handleColumns(reports.map(({ job }) => job)),
    reports.map(({ percent }) => Math.floor(percent)),
    reports.map(({ message }) => message ?? null),
  ];
  const reported = await db.run<ReportedProgress>('reportProgress', statement, values);
  announceMoved(db.dataSource, undefined, () => reported.filter(({ written }) => written));
  return reported;
}
