import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { JobService, NotificationService, User } from '@frameforge/shared-types';
import type { INestApplicationContext } from '@nestjs/common';
import { getRepositoryToken } from '@nestjs/typeorm';
import { unzipSync } from 'fflate';
import type { Repository } from 'typeorm';
import type { Narrator } from '../demo/narrator.js';
import { runFfmpeg } from './ffmpeg.js';
import type { Mailbox } from './mailbox.js';
import { Storage } from './storage.js';

/** Tells what happens to two uploads. Each claim is checked before it is printed. */
export async function tell(
  app: INestApplicationContext,
  mailbox: Mailbox,
  folder: string,
  narrator: Narrator,
): Promise<void> {
  const jobs = app.get(JobService);
  const users = app.get<Repository<User>>(getRepositoryToken(User));
  const { userId } = await users.save(
    users.create({ username: 'ada', email: 'ada@example.com', passwordHash: '$argon2id$…' }),
  );

  /** Stores a video, creates its job, and waits for the e-mail about it. */
  const upload = async (filename: string) => {
    const content = createReadStream(join(folder, filename));
    const videoUrl = await app.get(Storage).put(`upload-of-${filename}`, content);
    const received = mailbox.next();
    const { jobId } = await jobs.createJob({ userId, filename, videoUrl });
    const mail = await received;
    return { job: await jobs.getJob(jobId), mail };
  };

  narrator.chapter('Ada uploads a video of 2.4 s, 25 frames a second');
  const picture = ['-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=25:duration=2.4'];
  await runFfmpeg([...picture, '-pix_fmt', 'yuv420p', join(folder, 'clip.mp4')]);
  const video = await upload('clip.mp4');
  narrator.claim(
    `a worker extracted ${video.job.frameCount} frames in the background: ${video.job.status}`,
    video.job.status === 'completed' && video.job.frameCount === 60,
  );
  narrator.claim('she received this e-mail', isAbout(video.mail, 'The frames of clip.mp4'));
  narrator.quote(video.mail.split('\n'));
  const resultUrl = String(video.job.resultUrl);
  const files = Object.values(unzipSync(await readFile(fileURLToPath(resultUrl))));
  narrator.claim(
    `behind its link is a zip file of ${files.length} JPEGs`,
    video.mail.includes(`60 frames: ${resultUrl}`) && files.length === 60 && files.every(isJpeg),
  );

  narrator.chapter('Ada uploads something that is no video');
  await writeFile(join(folder, 'notes.mp4'), 'Buy milk.');
  const notes = await upload('notes.mp4');
  narrator.claim(
    `attempt ${notes.job.attempts} is the last, for another would not help: ${notes.job.status}`,
    notes.job.status === 'failed' && notes.job.attempts === 1,
  );
  narrator.claim(
    'she received this e-mail',
    isAbout(notes.mail, 'notes.mp4 could not be processed'),
  );
  narrator.quote(notes.mail.split('\n'));

  narrator.chapter('What is in the database now');
  const told = await settled(app.get(NotificationService));
  narrator.claim(
    'each job has one notification, and its delivery is recorded',
    told.join() === 'failure sent,success sent',
  );
  narrator.quote(told);
}

const isAbout = (mail: string, subject: string): boolean =>
  mail.includes('\nTo: ada@example.com\n') && mail.includes(`\nSubject: ${subject}\n`);

const isJpeg = ([first, second]: Uint8Array): boolean => first === 0xff && second === 0xd8;

/** A delivery is recorded just after the mail server has taken the message. */
async function settled(service: NotificationService): Promise<string[]> {
  for (let tries = 0; ; tries += 1) {
    const { notifications } = await service.listNotifications();
    if (
      tries === 200 ||
      notifications.every(({ deliveryStatus }) => deliveryStatus !== 'pending')
    ) {
      return notifications.map((one) => `${one.notificationType} ${one.deliveryStatus}`);
    }
    await sleep(50);
  }
}
