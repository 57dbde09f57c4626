import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Forwards TCP connections from a loopback port of its own to one of 127.0.0.1, until told to misbehave. */
export class TcpProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #mayAnswer: (() => Promise<boolean>) | undefined;
  #blocked = false;
  #bytesBeforeCut: () => number = () => Infinity;
  #cuts = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * @param port where connections go
   * @param address where they come in
   */
  static async start(port: number, address = '127.0.0.1'): Promise<TcpProxy> {
    const server = createServer();
    const proxy = new TcpProxy(server);
    server.on('connection', (client) => proxy.#forward(client, port));
    await once(server.listen(0, address), 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** Connections that {@link cutAfter} has cut. */
  get cuts(): number {
    return this.#cuts;
  }

  /** Cuts all connections, and each new one, until {@link unblock}. */
  block(): void {
    this.#blocked = true;
    this.cut();
  }

  unblock(): void {
    this.#blocked = false;
  }

  /** Cuts each connection made from now on when it has answered so many bytes, be that in the middle of a message. */
  cutAfter(bytes: () => number): void {
    this.#bytesBeforeCut = bytes;
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /**
   * Lets requests pass, and answers only as long as `isDone` does not hold: then all connections are cut, before the answer.
   *
   * @returns when that has happened
   */
  async cutWhen(isDone: () => Promise<boolean>): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#mayAnswer = async () => {
        if (!(await isDone())) return true;
        this.#mayAnswer = undefined;
        this.cut();
        resolve();
        return false;
      };
    });
  }

  /** As {@link cutWhen}, and from then on as {@link block} does. */
  async blockWhen(isDone: () => Promise<boolean>): Promise<void> {
    await this.cutWhen(async () => {
      this.#blocked = await isDone();
      return this.#blocked;
    });
  }

  /**
   * Answers until `isDone` holds, that answer included; what the clients ask then gets lost, and new connections are cut, until
   * {@link unblock}.
   *
   * @returns when that has happened
   */
  async loseWhen(isDone: () => Promise<boolean>): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#mayAnswer = async () => {
        if (!(await isDone())) return true;
        this.#mayAnswer = undefined;
        this.#blocked = true;
        resolve();
        return true;
      };
    });
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #forward(client: Socket, port: number): void {
    if (this.#blocked) {
      client.destroy();
      return;
    }
    const server = connect(port, '127.0.0.1');
    let bytesLeft = this.#bytesBeforeCut();
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => {}); // the close that follows says it all
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on('end', () => to.end());
    }
    client.on('data', (bytes) => {
      if (!this.#blocked) server.write(bytes);
    });
    let answered: Promise<unknown> = Promise.resolve();
    server.on('data', (bytes) => {
      answered = answered.then(async () => {
        if (this.#mayAnswer !== undefined && !(await this.#mayAnswer())) return;
        client.write(bytes.subarray(0, bytesLeft));
        bytesLeft -= bytes.length;
        if (bytesLeft > 0 || client.destroyed) return;
        this.#cuts++;
        client.destroySoon();
      });
    });
  }
}
