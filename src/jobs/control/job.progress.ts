import type { SqlRunner } from '../../sql/sql.runner.js';
import { announceMoved } from '../job.changes.js';
import { handleColumns } from '../job.row.js';
import type { ProgressReport } from './control.inputs.js';
import { reportProgress as statement } from './job.progress.sql.js';

/** What came of the report of one run that is still at work. */
export interface ReportedProgress {
  readonly jobId: string;
  readonly written: boolean;
  /** Its row was locked: nothing was written, and it was not waited for. */
  readonly locked: boolean;
}

/** Reports how far runs have come, in one statement. @returns those that are still at work */
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
