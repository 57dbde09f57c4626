import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';

import { connectSocket } from './connect_socket.js';
import { Auth, KV, Lease, Watch } from './gen/rpc_pb.js';
import { SessionManager } from './session_manager.js';
import type { TlsFiles } from './tls_files.js';

/**
 * Silence on a connection with open streams after which a PING asks whether the server is there. A server counts PINGs that
 * come within `--grpc-keepalive-min-time` (5 s) of each other and closes the connection at the third (grpc-go
 * http2Server.handlePing, etcd embed/config.go), so there must be more than 5 s between them.
 */
const PING_INTERVAL_MILLIS = 6_000;
/** And how long its answer may take: a connection that is half-open is noticed within 9 s. */
const PING_TIMEOUT_MILLIS = 3_000;
/** A connection without streams is given back: between renewals, a day apart, only that of the watch stays. */
const IDLE_MILLIS = 30_000;
/** Most bytes of one message, for a list of 65,536 leases and more: they have some 10 MiB. */
const MAX_MESSAGE_BYTES = 256 * 1024 * 1024;

/** A connection to one server, made when it is first needed and again after it ended. */
export class Connection {
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly auth: Client<typeof Auth>;
  readonly watch: Client<typeof Watch>;
  readonly #manager: SessionManager;

  /** @param origin e.g. `http://127.0.0.1:2379` */
  constructor(origin: string, tls: TlsFiles) {
    const pings = {
      pingIntervalMs: PING_INTERVAL_MILLIS,
      pingTimeoutMs: PING_TIMEOUT_MILLIS,
      idleConnectionTimeoutMs: IDLE_MILLIS,
    };
    this.#manager = new SessionManager(origin, pings, {
      createConnection: (authority: URL) => connectSocket(authority, tls),
    });
    const transport = createGrpcTransport({
      baseUrl: origin,
      sessionManager: this.#manager,
      readMaxBytes: MAX_MESSAGE_BYTES,
    });
    this.kv = createClient(KV, transport);
    this.lease = createClient(Lease, transport);
    this.auth = createClient(Auth, transport);
    this.watch = createClient(Watch, transport);
  }

  /** Ends it; calls that wait reject with a fault of the server. */
  close(): void {
    this.#manager.abort(new ConnectError('the connection was given up', Code.Unavailable));
  }
}
