/** What a notification tells the user: that the job was completed, or that it failed. */
export const NotificationType = {
  /** The job was completed. */
  SUCCESS: 'success',
  /** The job failed. */
  FAILURE: 'failure',
} as const;
/** One of the values of the constant of this name, also written as its text: `'success'`. */
export type NotificationType = (typeof NotificationType)[keyof typeof NotificationType];

/** How far the delivery of a notification has come. */
export const DeliveryStatus = {
  /** It is to be delivered. */
  PENDING: 'pending',
  /** It was delivered. This is final. */
  SENT: 'sent',
  /** Its delivery was given up. */
  FAILED: 'failed',
} as const;
/** One of the values of the constant of this name, also written as its text: `'sent'`. */
export type DeliveryStatus = (typeof DeliveryStatus)[keyof typeof DeliveryStatus];
