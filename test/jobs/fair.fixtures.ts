import type { Harness } from '../support/harness.js';

/** Makers of users, and of their backlogs. */
export function fairFixtures(h: Harness) {
  const newUsers = (count: number): Promise<string[]> =>
    Promise.all(Array.from({ length: count }, async () => (await h.user()).userId));
  /** Gives a user pending jobs, the first of which waits longest. @returns their ids */
  const backlog = async (userId: string, count: number): Promise<string[]> => {
    const rows: { jobId: string }[] = await h.dataSource.query(
      `INSERT INTO video_jobs ("userId", filename, "videoUrl", "availableAt")
       SELECT $1, 'a.mp4', 's3://videos/a.mp4', now() - interval '1 h' + i * interval '1 ms'
       FROM generate_series(1, $2) i RETURNING "jobId"`,
      [userId, count],
    );
    return rows.map(({ jobId }) => jobId);
  };
  return { newUsers, backlog };
}
