import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';

import { BackOff } from './back_off.js';
import { connectSocket } from './connect_socket.js';
import { Auth, KV, Lease, Watch } from './gen/rpc_pb.js';
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

/**
 * One etcd server: its connections and whether it is worth trying.
 *
 * Watches have a connection of their own, so that calls which time out may drop theirs without ending a watch.
 */
export class Endpoint {
  /** E.g. `http://127.0.0.1:2379`. */
  readonly origin: string;
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly auth: Client<typeof Auth>;
  readonly watch: Client<typeof Watch>;
  /** What was wrong when it was last tried; '' while it works. */
  lastFault = '';
  #everWorked = false;
  readonly #calls: Http2SessionManager;
  readonly #watches: Http2SessionManager;
  readonly #backOff = new BackOff();
  /** On the clock of performance.now(): not to be tried before. */
  #asideUntil = 0;

  constructor(origin: string, tls: TlsFiles) {
    this.origin = origin;
    this.#calls = newManager(origin, tls);
    this.#watches = newManager(origin, tls);
    const transport = transportOver(origin, this.#calls);
    this.kv = createClient(KV, transport);
    this.lease = createClient(Lease, transport);
    this.auth = createClient(Auth, transport);
    this.watch = createClient(Watch, transportOver(origin, this.#watches));
  }

  /** Milliseconds until it may be tried; 0 for now. */
  get waitMillis(): number {
    return Math.max(0, this.#asideUntil - performance.now());
  }

  /** It answered. */
  worked(): void {
    this.#everWorked = true;
    this.lastFault = '';
    this.#asideUntil = 0;
    this.#backOff.reset();
  }

  /** It could not be reached, or did not answer: puts it aside for a while. */
  failed(fault: string): void {
    this.lastFault = fault;
    // Calls that fail together are one failure.
    if (this.waitMillis === 0) this.#asideUntil = performance.now() + this.#backOff.fail();
  }

  /** What to look at when the server ends the connection; '' once it has worked. */
  get doubt(): string {
    if (this.#everWorked) return '';
    if (this.origin.startsWith('http:')) return ': is it https://, and is the port that of etcd clients?';
    return ': does it want etcd-certfile and etcd-keyfile, or is it http://?';
  }

  /** Gives up the connection of calls, as one that no longer answers; the next call makes a new one. */
  dropCalls(): void {
    this.#calls.abort(new ConnectError('the connection no longer answers', Code.Unavailable));
  }

  close(): void {
    this.#calls.abort();
    this.#watches.abort();
  }
}

function newManager(origin: string, tls: TlsFiles): Http2SessionManager {
  const pings = {
    pingIntervalMs: PING_INTERVAL_MILLIS,
    pingTimeoutMs: PING_TIMEOUT_MILLIS,
    idleConnectionTimeoutMs: IDLE_MILLIS,
  };
  return new Http2SessionManager(origin, pings, {
    createConnection: (authority: URL) => connectSocket(authority, tls),
  });
}

function transportOver(origin: string, sessionManager: Http2SessionManager) {
  return createGrpcTransport({ baseUrl: origin, sessionManager, readMaxBytes: MAX_MESSAGE_BYTES });
}
