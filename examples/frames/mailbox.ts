import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';

/** An SMTP server on a free port of this machine. It accepts every message. */
export class Mailbox {
  private readonly server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    onData: (stream, _session, done) => {
      text(stream)
        .then((message) => this.server.emit('message', message))
        .then(() => done(), done);
    },
  });

  /** @returns the `smtp:` URL of the server */
  async open(): Promise<string> {
    const socket = this.server.listen(0, '127.0.0.1');
    await once(socket, 'listening');
    return `smtp://127.0.0.1:${(socket.address() as AddressInfo).port}`;
  }

  /** @returns the next message as it arrives, with the lines joined that SMTP had to break */
  async next(): Promise<string> {
    const signal = AbortSignal.timeout(30_000);
    const received = await once(this.server, 'message', { signal }).catch((cause: unknown) => {
      throw new Error('No e-mail came within 30 s.', { cause });
    });
    return String(received[0]).replaceAll('=\r\n', '').replaceAll('\r\n', '\n').trimEnd();
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.server.close(resolve));
  }
}
