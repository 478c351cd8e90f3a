import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { tryOf } from '../../notifications/delivery.round';
import { useLive } from './live';
import { Address, spanText, Status, Time } from './format';
import { ActionButton, Empty, Loaded, Table } from './parts';
import { useSettings } from './settings';
import type { JobLife, NotificationOfJob } from './types';

const REFRESH_MS = 2_000;

/** The page of one job: its status, its life, and its notifications. */
export function JobPage({ id }: { id: string }): JSX.Element {
  const live = useLive<JobLife>(`api/jobs/${encodeURIComponent(id)}`, REFRESH_MS);
  return (
    <>
      <p class="crumb">
        <a href="jobs" data-page>
          Jobs
        </a>
      </p>
      <Loaded live={live}>{(life) => <Life life={life} refresh={live.refresh} />}</Loaded>
    </>
  );
}

function Life({ life, refresh }: { life: JobLife; refresh: () => void }): JSX.Element {
  const { job, notifications } = life;
  const { actions } = useSettings();
  const isOpen = job.status === 'pending' || job.status === 'processing';
  return (
    <>
      <div class="title">
        <h1>{job.filename}</h1>
        <Status of={job.status} cancelled={job.cancelledAt !== null} />
        {actions.includes('retry') && job.status === 'failed' && (
          <ActionButton action="retry" ids={[job.jobId]} what="1 job" onDone={refresh} />
        )}
        {actions.includes('cancel') && isOpen && (
          <ActionButton action="cancel" ids={[job.jobId]} what="1 job" onDone={refresh} />
        )}
      </div>
      {job.status === 'processing' && (
        <p class="progress">
          <progress aria-label="Progress" max={100} value={job.progress ?? 0} /> {job.progress ?? 0}{' '}
          % {job.progressMessage}
        </p>
      )}
      {job.errorMessage !== null && (
        <section aria-labelledby="error">
          <h2 id="error">Error</h2>
          <pre class="bad">{job.errorMessage}</pre>
        </section>
      )}
      <div class="columns">
        <section aria-labelledby="life">
          <h2 id="life">Life</h2>
          <TimeLine life={life} />
        </section>
        <section aria-labelledby="facts">
          <h2 id="facts">Facts</h2>
          <Facts life={life} />
        </section>
      </div>
      <Json title="Parameters" value={job.parameters} />
      <Json title="Output" value={job.output} />
      <section aria-labelledby="notifications">
        <h2 id="notifications">Notifications</h2>
        {notifications.length === 0 ? (
          <Empty>Its user is told when the job is completed, or has failed for good.</Empty>
        ) : (
          <Notifications notifications={notifications} refresh={refresh} />
        )}
      </section>
    </>
  );
}

function Facts({ life: { job } }: { life: JobLife }): JSX.Element {
  return (
    <dl class="card facts">
      <dt>Job</dt>
      <dd>
        <code>{job.jobId}</code>
      </dd>
      <dt>User</dt>
      <dd>
        <a href={`jobs?user=${encodeURIComponent(job.userId)}`} data-page>
          {job.username}
        </a>{' '}
        {job.email}
      </dd>
      <dt>Video</dt>
      <dd>
        <Address url={job.videoUrl} />
      </dd>
      <dt>Result</dt>
      <dd>
        <Address url={job.resultUrl} />
        {job.frameCount !== null && ` ${job.frameCount} frames`}
      </dd>
      <dt>Tries</dt>
      <dd>
        {job.attempts}, run {job.runNumber}
      </dd>
      {job.status === 'processing' && (
        <>
          <dt>Worker</dt>
          <dd>
            <code>{job.workerId ?? 'without a lease'}</code>
          </dd>
        </>
      )}
    </dl>
  );
}

interface Event {
  readonly at: string;
  readonly kind: string;
  readonly what: ComponentChildren;
  readonly error?: string;
}

function eventsOf({ job, failedRuns }: JobLife): Event[] {
  const events: Event[] = [{ at: job.createdAt, kind: '', what: 'Created' }];
  for (const run of failedRuns) {
    const by = run.workerId === null ? '' : ` by ${run.workerId}`;
    const what = `Run ${run.runNumber}${by} did not work`;
    events.push({ at: run.createdAt, kind: 'bad', what, error: run.errorMessage });
  }
  if (job.startedAt !== null) {
    const by = job.workerId === null ? '' : ` by ${job.workerId}`;
    events.push({ at: job.startedAt, kind: 'accent', what: `Latest run started${by}` });
  }
  if (job.completedAt !== null && job.cancelledAt === null) {
    const isGood = job.status === 'completed';
    const took =
      job.startedAt === null
        ? ''
        : `, after ${spanText(Math.max(Date.parse(job.completedAt) - Date.parse(job.startedAt), 0))}`;
    const what = `${isGood ? 'Completed' : 'Failed for good'}${took}`;
    events.push({ at: job.completedAt, kind: isGood ? 'good' : 'bad', what });
  }
  if (job.cancelledAt !== null)
    events.push({ at: job.cancelledAt, kind: 'warn', what: 'Cancelled' });
  if (job.status === 'pending') {
    const isDue = Date.parse(job.availableAt) <= Date.now();
    const what = isDue ? 'Due: waits for a worker' : 'Will be due';
    events.push({ at: job.availableAt, kind: 'next', what });
  }
  if (job.status === 'processing' && job.workerId !== null) {
    const isOver = Date.parse(job.availableAt) <= Date.now();
    const what = isOver
      ? 'Its lease is over: the next claim takes it'
      : 'Its lease ends, unless extended';
    events.push({ at: job.availableAt, kind: isOver ? 'warn' : 'next', what });
  }
  // Events of one time stay in this order.
  return events.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at));
}

const TimeLine = ({ life }: { life: JobLife }): JSX.Element => (
  <ol class="card life">
    {eventsOf(life).map(({ at, kind, what, error }) => (
      <li key={`${at} ${String(what)}`} class={kind}>
        <Time at={at} /> <span>{what}</span>
        {error !== undefined && <pre>{error}</pre>}
      </li>
    ))}
  </ol>
);

function Json({ title, value }: { title: string; value: unknown }): JSX.Element | null {
  const [isOpen, setOpen] = useState(true);
  if (value === null) return null;
  const text = JSON.stringify(value, null, 2);
  return (
    <section>
      <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>{title}</summary>
        <pre tabIndex={0} aria-label={title} role="region">
          {text}
        </pre>
      </details>
    </section>
  );
}

function Notifications({
  notifications,
  refresh,
}: {
  notifications: readonly NotificationOfJob[];
  refresh: () => void;
}): JSX.Element {
  const { actions } = useSettings();
  return (
    <Table label="notifications">
      <thead>
        <tr>
          <th scope="col">Status</th>
          <th scope="col">Tells of</th>
          <th scope="col">To</th>
          <th scope="col">Logged</th>
          <th scope="col">Sent</th>
          <th scope="col" class="number">
            Deliveries
          </th>
          <th scope="col">Error</th>
          {actions.includes('redeliver') && <th scope="col">Action</th>}
        </tr>
      </thead>
      <tbody>
        {notifications.map((one) => (
          <tr key={one.notificationId}>
            <td>
              <Status of={one.deliveryStatus} />
            </td>
            <td class="nowrap">
              {one.notificationType}
              {one.runNumber !== null && ` of run ${one.runNumber}`}
            </td>
            <td class="name">{one.recipientEmail}</td>
            <td class="nowrap">
              <Time at={one.createdAt} />
            </td>
            <td class="nowrap">
              <Time at={one.sentAt} />
            </td>
            <td class="number">{tryOf(one.deliveryNumber)}</td>
            <td class="error">{one.errorMessage}</td>
            {actions.includes('redeliver') && (
              <td>
                {one.deliveryStatus === 'failed' && (
                  <ActionButton
                    action="redeliver"
                    ids={[one.notificationId]}
                    what="1 notification"
                    onDone={refresh}
                  />
                )}
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
