import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { until } from '../support/until.js';

/** A port without an answer: either nothing listens there, or the listener stays silent. */
async function unanswered(
  isSilent: boolean,
): Promise<{ port: number; connections: Set<Socket>; close(): void }> {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket.on('error', () => {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = (): void => {
    for (const socket of connections) socket.destroy();
    server.close();
  };
  if (!isSilent) close();
  return { port, connections, close };
}

describe.each(['forRoot', 'forRootAsync', 'worker'])('%s', (kind) => {
  it.each(['absent', 'silent'])(
    'SIGTERM at once ends a boot that waits for a database that is %s',
    async (how) => {
      const database = await unanswered(how === 'silent');
      const service = fork('test/boot/terminated.process.ts', [kind], {
        execArgv: ['--import', './test/support/typescript.mjs'],
        env: {
          ...process.env,
          NODE_OPTIONS: '',
          DATABASE_URL: `postgres://u:p@127.0.0.1:${database.port}/db`,
        },
        stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      });
      try {
        let printed = '';
        service.stderr?.on('data', (chunk) => (printed += String(chunk)));
        const messages: unknown[] = [];
        service.on('message', (message) => messages.push(message));
        const ended = once(service, 'exit');
        // By now the boot waits for the database, which has refused the connection or accepted it without an answer.
        await until(() => (how === 'silent' ? database.connections.size > 0 : messages.length > 1));
        service.kill('SIGTERM');
        // Without the signal, the boot would wait for a minute.
        expect(await ended).toEqual([null, 'SIGTERM']);
        expect(printed).toBe('');
        expect(messages).not.toContainEqual(
          expect.objectContaining({ unexpected: expect.anything() }),
        );
      } finally {
        service.kill('SIGKILL');
        database.close();
      }
    },
    60_000,
  );
});
