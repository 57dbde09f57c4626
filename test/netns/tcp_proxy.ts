import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Forwards TCP connections from a loopback port of its own to one of 127.0.0.1, until told to misbehave. */
export class TcpProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #mayAnswer: (() => Promise<boolean>) | undefined;

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

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #forward(client: Socket, port: number): void {
    const server = connect(port, '127.0.0.1');
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
    client.on('data', (bytes) => server.write(bytes));
    let answered: Promise<unknown> = Promise.resolve();
    server.on('data', (bytes) => {
      answered = answered.then(async () => {
        if (this.#mayAnswer === undefined || (await this.#mayAnswer())) client.write(bytes);
      });
    });
  }
}
