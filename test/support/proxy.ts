import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** The traffic since the last `reset`. */
export interface Traffic {
  connections: number;
  /** How often a client sent something and waited for the answer. Logins are not counted. */
  roundTrips: number;
}

/** A relay before a server. It counts the traffic, and breaks when a test asks for it. */
export class Proxy {
  traffic: Traffic = { connections: 0, roundTrips: 0 };
  /** While true, connections are accepted and nothing is answered. */
  silent = false;
  /** While true, a connection that the server ends stays open on the client's side. */
  lingering = false;
  /** While true, the client of a new connection gets the opening and the end of the connection at once. */
  withholding = false;
  /** While true, messages of clients arrive at the server, but its answers do not arrive at the clients. */
  mute = false;
  readonly #server = createServer((client) => this.#relay(client));
  readonly #sockets = new Set<Socket>();
  #port = 0;

  private constructor(private readonly target: URL) {}

  /** Starts a relay. @param port - 0 for any free port */
  static async start(targetUrl: string, port = 0): Promise<Proxy> {
    const proxy = new Proxy(new URL(targetUrl));
    proxy.#server.listen(port, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  /** The URL of the target, through the relay. */
  get url(): string {
    const url = new URL(this.target);
    url.host = `127.0.0.1:${this.#port}`;
    return url.href;
  }

  reset(): void {
    this.traffic = { connections: 0, roundTrips: 0 };
  }

  /** Breaks the open connections without a goodbye, as a network does. */
  cut(): void {
    for (const socket of this.#sockets) {
      // A socket that has sent its goodbye cannot be reset any more. Node would keep it for ever.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  /**
   * Keeps the open connections, but lets nothing through any more, as if the server had vanished.
   *
   * @param port - the client's port of one connection, as the server sees it; all connections if left out
   * @returns a function that ends these connections, as TCP does when its keep-alive gets no answer
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
    // A reset would wait until all data are sent, but nobody reads a frozen connection.
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

/** Finds the messages in a client's bytes. The first message has no type. Every other message begins with a byte for it. */
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
      // `Q` is a simple query, and `S` ends an extended query.
      if (this.started && 'QS'.includes(String.fromCharCode(this.rest[0] ?? 0))) this.onRoundTrip();
      this.started = true;
      this.rest = this.rest.subarray(length);
    }
  }
}
