import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { useLive } from './live';
import { Chart } from './chart';
import { countText, numberText, spanText, Time } from './format';
import { Empty, Loaded, Table } from './parts';
import type { BoundedCount, Due, Overview, SchemaState, WorkPoint } from './types';

const REFRESH_MS = 3_000;

/** The first page: is anything stuck? */
export function OverviewPage(): JSX.Element {
  const live = useLive<Overview>('api/overview', REFRESH_MS);
  const schema = useLive<SchemaState>('api/schema', 300_000);
  return (
    <>
      <h1>Overview</h1>
      <Loaded live={live}>
        {(data) => (
          <>
            {data.paused !== null && (
              <p class="banner warn">
                <strong>Paused</strong> since <Time at={data.paused.since} />: no job is claimed
                {data.paused.reason === null ? '.' : ` (${data.paused.reason}).`}
              </p>
            )}
            <Jobs data={data} />
            <Notifications data={data} />
            <Charts data={data} />
            <Workers data={data} />
            {schema.data !== undefined && <Schema state={schema.data} />}
          </>
        )}
      </Loaded>
    </>
  );
}

function Figure({
  label,
  value,
  href,
  note,
  tone = '',
}: {
  label: string;
  value: string;
  href?: string;
  note?: JSX.Element | string;
  tone?: string;
}): JSX.Element {
  const content = (
    <>
      <span class="label">{label}</span>
      <span class="value">{value}</span>
      <span class="note">{note}</span>
    </>
  );
  return href === undefined ? (
    <li class={`card figure ${tone}`}>{content}</li>
  ) : (
    <li class={`card figure ${tone}`}>
      <a href={href} data-page>
        {content}
      </a>
    </li>
  );
}

const isSome = ({ count }: BoundedCount): boolean => count > 0;

const oldest = ({ oldest: at }: Due, word: string): JSX.Element | string =>
  at === null ? (
    'nothing waits'
  ) : (
    <>
      oldest {word} <Time at={at} ago />
    </>
  );

function Jobs({ data: { jobs, workers, hour } }: { data: Overview }): JSX.Element {
  const places = workers.reduce((sum, worker) => sum + worker.places, 0);
  const { pending, processing, completed, failed } = jobs.counts;
  return (
    <section aria-labelledby="jobs">
      <h2 id="jobs">Jobs</h2>
      <ul class="figures">
        <Figure
          label="Due now"
          value={countText(jobs.due)}
          href="jobs?order=waiting"
          note={oldest(jobs.due, 'due')}
        />
        <Figure
          label="Pending"
          value={countText(pending)}
          href="jobs?status=pending"
          note="due, or scheduled for later"
        />
        <Figure
          label="Processing"
          value={countText(processing)}
          href="jobs?status=processing"
          note={`${numberText(places)} places of ${workers.length} workers`}
        />
        <Figure
          label="Lost"
          value={countText(jobs.lost)}
          href="jobs?status=processing"
          note={isSome(jobs.lost) ? oldest(jobs.lost, 'lease ended') : 'no lease is over'}
          tone={isSome(jobs.lost) ? 'warn' : ''}
        />
        <Figure
          label="Failed"
          value={countText(failed)}
          href="jobs?status=failed"
          note={`${numberText(hour.failed)} in the last hour`}
          tone={hour.failed > 0 ? 'bad' : ''}
        />
        <Figure
          label="Completed"
          value={countText(completed)}
          href="jobs?status=completed"
          note={`${numberText(hour.completed)} in the last hour`}
        />
        <Figure
          label="Waited"
          value={spanText(hour.waited.median)}
          note={`95 % under ${spanText(hour.waited.p95)}`}
        />
        <Figure
          label="Ran"
          value={spanText(hour.ran.median)}
          note={`95 % under ${spanText(hour.ran.p95)}`}
        />
      </ul>
    </section>
  );
}

function Notifications({ data: { notifications, hour } }: { data: Overview }): JSX.Element {
  const { pending, sent, failed } = notifications.counts;
  return (
    <section aria-labelledby="notifications">
      <h2 id="notifications">Notifications</h2>
      <ul class="figures">
        <Figure
          label="Due now"
          value={countText(notifications.due)}
          href="notifications?status=pending"
          note={oldest(notifications.due, 'due')}
        />
        <Figure
          label="Pending"
          value={countText(pending)}
          href="notifications?status=pending"
          note="due, or waiting for another try"
        />
        <Figure
          label="Sent"
          value={countText(sent)}
          href="notifications?status=sent"
          note={`${numberText(hour.delivered)} in the last hour`}
        />
        <Figure
          label="Failed"
          value={countText(failed)}
          href="notifications?status=failed"
          note={`${numberText(hour.undelivered)} failed deliveries in the last hour`}
          tone={hour.undelivered > 0 ? 'bad' : ''}
        />
      </ul>
    </section>
  );
}

const JOB_LINES = (points: readonly WorkPoint[]) => [
  { label: 'completed', color: 'good', values: points.map((point) => point.completed) },
  { label: 'failed', color: 'bad', values: points.map((point) => point.failed) },
  { label: 'tried again', color: 'warn', dashed: true, values: points.map((p) => p.retried) },
];

function Charts({ data }: { data: Overview }): JSX.Element {
  // The charts leave out the current minute and hour, because a part of one would look like a drop.
  const lastHour = useMemo(() => data.lastHour.slice(0, -1), [data.lastHour]);
  const lastWeek = useMemo(() => data.lastWeek.slice(0, -1), [data.lastWeek]);
  // The data of the week change only when the hour changes, so that its chart is not drawn without need.
  const minutes = useMemo(() => lastHour.map(({ at }) => at), [lastHour]);
  const hours = useMemo(() => lastWeek.map(({ at }) => at), [lastWeek]);
  const times = useMemo(
    () => [
      { label: 'waited, median', color: 'accent', values: lastHour.map((p) => p.waited.median) },
      {
        label: 'waited, 95 %',
        color: 'accent',
        dashed: true,
        values: lastHour.map((p) => p.waited.p95),
      },
      { label: 'ran, median', color: 'good', values: lastHour.map((p) => p.ran.median) },
      { label: 'ran, 95 %', color: 'good', dashed: true, values: lastHour.map((p) => p.ran.p95) },
    ],
    [lastHour],
  );
  const deliveries = useMemo(
    () => [
      { label: 'sent', color: 'good', values: lastHour.map((point) => point.delivered) },
      { label: 'failed', color: 'bad', values: lastHour.map((point) => point.undelivered) },
    ],
    [lastHour],
  );
  const byMinute = useMemo(() => JOB_LINES(lastHour), [lastHour]);
  const byHour = useMemo(() => JOB_LINES(lastWeek), [lastWeek]);
  return (
    <section aria-labelledby="work">
      <h2 id="work">Work</h2>
      <div class="charts">
        <Chart title="Jobs per minute, last hour" times={minutes} lines={byMinute} />
        <Chart
          title={`Jobs per hour, last week${lastWeek.some((p) => p.isEstimated) ? ', estimated' : ''}`}
          times={hours}
          lines={byHour}
        />
        <Chart title="How long, last hour" times={minutes} lines={times} format={spanText} />
        <Chart title="Deliveries per minute, last hour" times={minutes} lines={deliveries} />
      </div>
    </section>
  );
}

function Workers({ data: { workers } }: { data: Overview }): JSX.Element {
  return (
    <section aria-labelledby="workers">
      <h2 id="workers">Workers</h2>
      {workers.length === 0 ? (
        <Empty>
          No worker has reported within three minutes: nothing claims jobs. Start an application
          with FrameForgeWorkerModule.
        </Empty>
      ) : (
        <Table label="workers">
          <thead>
            <tr>
              <th scope="col">Worker</th>
              <th scope="col">Started</th>
              <th scope="col" class="number">
                At work
              </th>
              <th scope="col" class="number">
                Places
              </th>
            </tr>
          </thead>
          <tbody>
            {workers.map((worker) => (
              <tr key={worker.workerId}>
                <td>
                  <code>{worker.workerId}</code>
                </td>
                <td>
                  <Time at={worker.startedAt} ago />
                </td>
                <td class="number">{numberText(worker.running)}</td>
                <td class="number">{numberText(worker.places)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </section>
  );
}

function Schema({ state }: { state: SchemaState }): JSX.Element {
  const { pendingMigrations, unknownMigrations, drift } = state;
  const lines = [
    ...pendingMigrations.map((name) => `Migration ${name} has not run.`),
    ...unknownMigrations.map((name) => `Migration ${name} is of a newer release.`),
    ...(drift ?? []),
  ];
  return (
    <section aria-labelledby="schema">
      <h2 id="schema">Database</h2>
      {lines.length === 0 ? (
        <p class="dim">
          All migrations have run
          {drift === null
            ? '; this role may not compare the tables.'
            : ', and the tables are as they should be.'}
        </p>
      ) : (
        <ul class="banner warn">
          {lines.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      )}
    </section>
  );
}
