import type { JSX } from 'preact';
import { matchingOf } from './api';
import type { Matching } from './api';
import { ChoiceFilter, Filters, Pages, TextFilter, TimeFilter } from './filters';
import { spanText, Status, Time } from './format';
import { useLive } from './live';
import { MarkAllCell, MarkCell, useMarks } from './marks';
import { ActionButton, ActionOnAllButton, Empty, Loaded, Table } from './parts';
import { useSettings } from './settings';
import type { FoundJob, FoundJobs } from './types';

const REFRESH_MS = 5_000;
const STATUSES = ['pending', 'processing', 'completed', 'failed'];

/** The list of jobs. */
export function JobsPage({ query }: { query: URLSearchParams }): JSX.Element {
  const live = useLive<FoundJobs>(`api/jobs?${query}`, REFRESH_MS);
  const props = { page: 'jobs', query };
  const waits = query.get('order') === 'waiting';
  return (
    <>
      <h1>Jobs</h1>
      <Filters>
        <ChoiceFilter
          {...props}
          name="order"
          label="Order"
          clears={['status', 'from', 'to']}
          choices={[
            ['', 'Newest first'],
            ['waiting', 'Longest waiting'],
          ]}
        />
        {!waits && (
          <ChoiceFilter
            {...props}
            name="status"
            label="Status"
            choices={[['', 'All'], ...STATUSES.map((status) => [status, status] as const)]}
          />
        )}
        <TextFilter {...props} name="user" label="User" placeholder="Name, e-mail or id" />
        <TextFilter {...props} name="text" label="File or error" placeholder="Part of it" />
        {!waits && <TimeFilter {...props} name="from" label="Created from" />}
        {!waits && <TimeFilter {...props} name="to" label="Created before" />}
      </Filters>
      <Loaded live={live}>
        {(data) => (
          <List
            data={data}
            query={query}
            waits={waits}
            matching={matchingOf(query, live.at)}
            refresh={live.refresh}
          />
        )}
      </Loaded>
    </>
  );
}

function List({
  data,
  query,
  waits,
  matching,
  refresh,
}: {
  data: FoundJobs;
  query: URLSearchParams;
  waits: boolean;
  /** Undefined if an action cannot have the filter. */
  matching: Matching | undefined;
  refresh: () => void;
}): JSX.Element {
  const { actions } = useSettings();
  const ids = data.found.map(({ jobId }) => jobId);
  const marks = useMarks(ids);
  const { marked } = marks;
  const of = (statuses: string[]): string[] =>
    data.found
      .filter(({ jobId, status }) => marked.includes(jobId) && statuses.includes(status))
      .map(({ jobId }) => jobId);
  const [failed, open] = [of(['failed']), of(['pending', 'processing'])];
  const canAct = actions.includes('retry') || actions.includes('cancel');
  return (
    <>
      {canAct && (
        <div class="bulk">
          <span aria-live="polite">{marked.length} marked</span>
          {actions.includes('retry') && (
            <ActionButton action="retry" ids={failed} what={jobsText(failed)} onDone={refresh} />
          )}
          {actions.includes('cancel') && (
            <ActionButton action="cancel" ids={open} what={jobsText(open)} onDone={refresh} />
          )}
          {matching?.status === 'failed' && actions.includes('retry') && (
            <ActionOnAllButton
              action="retry"
              label="Retry all that match"
              noun="jobs"
              matching={matching}
              onDone={refresh}
            />
          )}
          {(matching?.status === 'pending' || matching?.status === 'processing') &&
            actions.includes('cancel') && (
              <ActionOnAllButton
                action="cancel"
                label="Cancel all that match"
                noun="jobs"
                matching={matching}
                onDone={refresh}
              />
            )}
        </div>
      )}
      {/* The buttons stay when an action leaves nothing: they tell what became of it. */}
      {ids.length === 0 ? (
        <Empty>{emptyText(data, query)}</Empty>
      ) : (
        <Table label="jobs">
          <thead>
            <tr>
              {canAct && <MarkAllCell marks={marks} />}
              <th scope="col">Status</th>
              <th scope="col">File</th>
              <th scope="col">User</th>
              <th scope="col">{waits ? 'Due' : 'Created'}</th>
              <th scope="col">Took</th>
              <th scope="col" class="number">
                Tries
              </th>
              <th scope="col">Error</th>
            </tr>
          </thead>
          <tbody>
            {data.found.map((job) => (
              <tr key={job.jobId}>
                {canAct && <MarkCell marks={marks} id={job.jobId} label={job.filename} />}
                <td>
                  <Status of={job.status} cancelled={job.cancelledAt !== null} />
                  {job.status === 'processing' && job.progress !== null && ` ${job.progress} %`}
                </td>
                <td class="name">
                  <a href={`jobs/${job.jobId}`} data-page>
                    {job.filename}
                  </a>
                </td>
                <td class="name">
                  <a
                    href={`jobs?user=${encodeURIComponent(job.userId)}`}
                    title={job.email}
                    data-page
                  >
                    {job.username}
                  </a>
                </td>
                <td class="nowrap">
                  <Time at={waits ? job.availableAt : job.createdAt} ago />
                </td>
                <td class="nowrap">{tookText(job)}</td>
                <td class="number">{job.attempts}</td>
                <td class="error">{job.errorMessage}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <Pages page="jobs" query={query} {...data} />
    </>
  );
}

const jobsText = ({ length }: readonly string[]): string =>
  length === 1 ? '1 job' : `${length} jobs`;

function tookText({ startedAt, completedAt }: FoundJob): string {
  if (startedAt === null || completedAt === null) return '–';
  return spanText(Math.max(Date.parse(completedAt) - Date.parse(startedAt), 0));
}

function emptyText({ user, stoppedAt }: FoundJobs, query: URLSearchParams): string {
  if (user === null)
    return 'There is no user of this name, e-mail address or id: write it in full.';
  if (stoppedAt !== null) return 'Nothing found yet among the newest jobs: search on.';
  if (query.has('cursor')) return 'There is nothing more.';
  if (query.toString() === '')
    return 'There are no jobs yet: they appear here when they are created.';
  if (query.get('order') === 'waiting') return 'No job waits: all is done or at work.';
  return 'No job matches: widen the filters.';
}
