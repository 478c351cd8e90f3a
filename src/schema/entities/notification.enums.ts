/** What a notification tells: the job completed, or it finally failed. */
export enum NotificationType {
  SUCCESS = 'success',
  FAILURE = 'failure',
}

/** How far the delivery of a notification has come. */
export enum DeliveryStatus {
  PENDING = 'pending',
  SENT = 'sent',
  FAILED = 'failed',
}
