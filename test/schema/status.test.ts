import { DeliveryStatus, JobStatus, NotificationType } from '../../src/index.js';
import { openHarness } from '../support/harness.js';

it('a status can be written as a text or as a constant', async () => {
  const text: JobStatus = 'failed';
  expect([text, JobStatus.FAILED]).toEqual(['failed', 'failed']);
  const h = await openHarness();
  try {
    // There is no cast: the compiler accepts the text.
    expect(await h.jobs.listJobs({ status: 'failed' })).toEqual({ jobs: [], nextCursor: null });
    expect(await h.notifications.listNotifications({ deliveryStatus: 'sent' })).toMatchObject({
      notifications: [],
    });
  } finally {
    await h.close();
  }
});

it('the constants equal the texts that the database accepts', () => {
  expect(Object.values(JobStatus)).toEqual(['pending', 'processing', 'completed', 'failed']);
  expect(Object.values(DeliveryStatus)).toEqual(['pending', 'sent', 'failed']);
  expect(Object.values(NotificationType)).toEqual(['success', 'failure']);
});
