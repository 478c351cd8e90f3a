import { JobService } from '@frameforge/shared-types';
import type { NotificationLog } from '@frameforge/shared-types';
import { NotificationDeliverer } from '@frameforge/shared-types/worker';
import type { NotificationHandler, WorkContext } from '@frameforge/shared-types/worker';
import { Inject, Injectable } from '@nestjs/common';
import type { Transporter } from 'nodemailer';

export const MAIL_TRANSPORT = Symbol('nodemailer transport');

@Injectable()
@NotificationDeliverer({ concurrency: 2 })
export class Mailer implements NotificationHandler {
  constructor(
    @Inject(MAIL_TRANSPORT) private readonly transport: Transporter,
    private readonly jobs: JobService,
  ) {}

  async deliver(notification: NotificationLog, { signal }: WorkContext): Promise<void> {
    const { notificationId, notificationType, jobId, recipientEmail } = notification;
    const { filename, frameCount, resultUrl, errorMessage, cancelledAt } =
      await this.jobs.getJob(jobId);
    const success = notificationType === 'success';
    const failure = cancelledAt === null ? 'could not be processed' : 'was cancelled';
    await this.transport.sendMail({
      from: 'FrameForge <noreply@frameforge.example>',
      to: recipientEmail,
      subject: success ? `The frames of ${filename}` : `${filename} ${failure}`,
      text: success ? `${frameCount} frames: ${resultUrl}` : `The reason: ${errorMessage}`,
      // Delivery is at least once. A mail program recognizes a repeated message by its id.
      messageId: `<${notificationId}@frameforge.example>`,
      signal,
    });
  }
}
