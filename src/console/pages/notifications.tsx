import type { JSX } from 'preact';
import { tryOf } from '../../notifications/delivery.round';
import { matchingOf } from './api';
import type { Matching } from './api';
import { ChoiceFilter, Filters, Pages, TextFilter, TimeFilter } from './filters';
import { Status, Time } from './format';
import { useLive } from './live';
import { MarkAllCell, MarkCell, useMarks } from './marks';
import { ActionButton, ActionOnAllButton, Empty, Loaded, Table } from './parts';
import { useSettings } from './settings';
import type { FoundNotifications } from './types';

const REFRESH_MS = 5_000;
const STATUSES = ['pending', 'sent', 'failed'];

/** The list of notifications. */
export function NotificationsPage({ query }: { query: URLSearchParams }): JSX.Element {
  const live = useLive<FoundNotifications>(`api/notifications?${query}`, REFRESH_MS);
  const props = { page: 'notifications', query };
  return (
    <>
      <h1>Notifications</h1>
      <Filters>
        <ChoiceFilter
          {...props}
          name="status"
          label="Status"
          choices={[['', 'All'], ...STATUSES.map((status) => [status, status] as const)]}
        />
        <TextFilter {...props} name="text" label="Recipient or error" placeholder="Part of it" />
        <TimeFilter {...props} name="from" label="Logged from" />
        <TimeFilter {...props} name="to" label="Logged before" />
      </Filters>
      <Loaded live={live}>
        {(data) => (
          <List
            data={data}
            query={query}
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
  matching,
  refresh,
}: {
  data: FoundNotifications;
  query: URLSearchParams;
  /** Undefined if an action cannot have the filter. */
  matching: Matching | undefined;
  refresh: () => void;
}): JSX.Element {
  const { actions } = useSettings();
  const ids = data.found.map(({ notificationId }) => notificationId);
  const marks = useMarks(ids);
  const { marked } = marks;
  const canAct = actions.includes('redeliver');
  const failed = data.found
    .filter((one) => one.deliveryStatus === 'failed' && marked.includes(one.notificationId))
    .map(({ notificationId }) => notificationId);
  return (
    <>
      {canAct && (
        <div class="bulk">
          <span aria-live="polite">{marked.length} marked</span>
          <ActionButton
            action="redeliver"
            ids={failed}
            what={failed.length === 1 ? '1 notification' : `${failed.length} notifications`}
            onDone={refresh}
          />
          {matching?.status === 'failed' && (
            <ActionOnAllButton
              action="redeliver"
              label="Deliver all that match again"
              noun="notifications"
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
        <Table label="notifications">
          <thead>
            <tr>
              {canAct && <MarkAllCell marks={marks} />}
              <th scope="col">Status</th>
              <th scope="col">To</th>
              <th scope="col">Tells of</th>
              <th scope="col">Logged</th>
              <th scope="col">Sent</th>
              <th scope="col" class="number">
                Deliveries
              </th>
              <th scope="col">Error</th>
            </tr>
          </thead>
          <tbody>
            {data.found.map((one) => (
              <tr key={one.notificationId}>
                {canAct && (
                  <MarkCell
                    marks={marks}
                    id={one.notificationId}
                    label={`the one to ${one.recipientEmail}`}
                  />
                )}
                <td>
                  <Status of={one.deliveryStatus} />
                </td>
                <td class="name">{one.recipientEmail}</td>
                <td class="name">
                  {one.notificationType} of{' '}
                  <a href={`jobs/${one.jobId}`} data-page>
                    {one.filename}
                  </a>
                </td>
                <td class="nowrap">
                  <Time at={one.createdAt} ago />
                </td>
                <td class="nowrap">
                  <Time at={one.sentAt} ago />
                </td>
                <td class="number">{tryOf(one.deliveryNumber)}</td>
                <td class="error">{one.errorMessage}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <Pages page="notifications" query={query} {...data} />
    </>
  );
}

function emptyText({ stoppedAt }: FoundNotifications, query: URLSearchParams): string {
  if (stoppedAt !== null) return 'Nothing found yet among the newest notifications: search on.';
  if (query.has('cursor')) return 'There is nothing more.';
  if (query.toString() !== '') return 'No notification matches: widen the filters.';
  return 'There are no notifications yet: one is logged when a job ends.';
}
