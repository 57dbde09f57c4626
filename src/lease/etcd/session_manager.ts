import type { ClientHttp2Stream, Http2Session } from 'node:http2';

import { Http2SessionManager } from '@connectrpc/connect-node';

/** An error of the session has been told by its streams. */
function ignore(): void {}

/**
 * The session manager of connect-node, made safe to abort: version 2.1 takes its listeners off a session that is being
 * destroyed, as by a PING without answer, and the 'error' event that is still to come would end the process.
 */
export class SessionManager extends Http2SessionManager {
  readonly #guarded = new WeakSet<Http2Session>();

  override async request(...order: Parameters<Http2SessionManager['request']>): Promise<ClientHttp2Stream> {
    const stream = await super.request(...order);
    const { session } = stream;
    if (session !== undefined && !this.#guarded.has(session)) {
      this.#guarded.add(session);
      session.on('error', ignore);
    }
    return stream;
  }
}
