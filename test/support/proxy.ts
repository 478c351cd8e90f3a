import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** What went through since the last `reset`. */
export interface Traffic {
  connections: number;
  /** How often a client sent something and waited for the answer, logging in apart. */
  roundTrips: number;
}

/** A relay before a server, that counts what passes and breaks when it is told to. */
export class Proxy {
  traffic: Traffic = { connections: 0, roundTrips: 0 };
  /** While true, connections are accepted and nothing is answered. */
  silent = false;
  /** While true, a connection that the server ends stays open on the client's side. */
  lingering = false;
  /** While true, a new connection's client hears that it is open together with how it ends. */
  withholding = false;
  /** While true, what clients send arrives, and no answer does. */
  mute = false;
  readonly #server = createServer((client) => this.#relay(client));
  readonly #sockets = new Set<Socket>();
  #port = 0;

  private constructor(private readonly target: URL) {}

  /** @param port - 0 for any free one */
  static async start(targetUrl: string, port = 0): Promise<Proxy> {
    const proxy = new Proxy(new URL(targetUrl));
    proxy.#server.listen(port, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  /** The URL of the target, by way of the relay. */
  get url(): string {
    const url = new URL(this.target);
    url.host = `127.0.0.1:${this.#port}`;
    return url.href;
  }

  reset(): void {
    this.traffic = { connections: 0, roundTrips: 0 };
  }

  /** Breaks the connections that are open, as a network does: without a goodbye. */
  cut(): void {
    for (const socket of this.#sockets) {
      // One that says goodbye cannot be reset any more: Node would keep it, and not get to its end.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  /**
   * Keeps those that are open and lets nothing through any more, as a server that vanished does.
   *
   * @param port - of one connection, as the server sees it; all if left out
   * @returns how to end those in the end, as TCP does whose keep-alive gets no answer
   */
  freeze(port?: number): () => void {
    const frozen = [...this.#sockets].filter(
      (socket) => port === undefined || port === socket.localPort,
    );
    for (const socket of frozen) socket.unpipe().pause();
    return () => {
      for (const socket of frozen) socket.destroy();
    };
  }

  async stop(): Promise<void> {
    // Not reset: that waits for what is still to be sent, and nobody reads a frozen connection.
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #relay(client: Socket): void {
    this.traffic.connections++;
    this.#track(client);
    if (this.silent) return;
    const server = connect(Number(this.target.port), this.target.hostname);
    this.#track(server);
    const count = new MessageCounter(() => this.traffic.roundTrips++);
    client.on('data', (chunk: Buffer) => count.read(chunk));
    client.pipe(server);
    const { withholding } = this;
    const withheld: Buffer[] = [];
    server.on('data', (chunk: Buffer) => {
      if (this.mute) return;
      if (withheld.length > 0 || (withholding && chunk.subarray(-READY.length).equals(READY))) {
        withheld.push(chunk);
      } else client.write(chunk);
    });
    client.on('close', () => server.destroy());
    server.on('close', () => {
      if (withheld.length > 0) client.write(Buffer.concat(withheld));
      if (!this.lingering) client.end();
    });
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
  }
}

/** The message that says that a connection is ready for its first statement. */
const READY = Buffer.from([...Buffer.from('Z'), 0, 0, 0, 5, ...Buffer.from('I')]);

/** Finds the messages in a client's bytes. The first one has no type, the others one byte of it. */
class MessageCounter {
  private rest = Buffer.alloc(0);
  private started = false;

  constructor(private readonly onRoundTrip: () => void) {}

  read(chunk: Buffer): void {
    this.rest = Buffer.concat([this.rest, chunk]);
    for (;;) {
      const header = this.started ? 1 : 0;
      if (this.rest.length < header + 4) return;
      const length = header + this.rest.readUInt32BE(header);
      if (this.rest.length < length) return;
      // A simple query, and the end of an extended one.
      if (this.started && 'QS'.includes(String.fromCharCode(this.rest[0] ?? 0))) this.onRoundTrip();
      this.started = true;
      this.rest = this.rest.subarray(length);
    }
  }
}
