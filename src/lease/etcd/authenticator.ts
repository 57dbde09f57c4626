import type { CallOptions } from '@connectrpc/connect';

import type { Endpoint } from './endpoint.js';
import type { Credentials } from './etcd_options.js';
import { orAborted } from './linked_signal.js';

/**
 * The token that stands for user and password. etcd's simple tokens end 300 s after their last use (`--auth-token-ttl`) and
 * with the server that gave them, so a token is renewed when it is refused, not by a clock.
 */
export class Authenticator {
  readonly #credentials: Credentials | undefined;
  /** '' when there is none yet, or etcd wants none. */
  #token = '';
  #asked = false;
  #renewal: Promise<void> | undefined;

  constructor(credentials: Credentials | undefined) {
    this.#credentials = credentials;
  }

  /** Name of the user; undefined without credentials. */
  get username(): string | undefined {
    return this.#credentials?.username;
  }

  /**
   * The token for a call, asked for when there is none.
   *
   * @returns '' to call without one
   * @throws ConnectError when the server cannot be asked, or refuses; the reason of `signal` when it aborts
   */
  async token(
    endpoint: Endpoint,
    headers: Headers,
    timeoutMillis: number,
    signal: AbortSignal,
  ): Promise<string> {
    if (this.#credentials === undefined || this.#asked) return this.#token;
    // A call that has ended begins no request: nobody would hear of its failure, and Node ends a process for that.
    signal.throwIfAborted();
    // One request for all calls that wait for it, so it has no call's signal.
    this.#renewal ??= this.#authenticate(this.#credentials, endpoint, {
      headers,
      timeoutMs: Math.ceil(timeoutMillis), // gRPC has no fractions
    }).finally(() => {
      this.#renewal = undefined;
    });
    await orAborted(this.#renewal, signal);
    return this.#token;
  }

  /** `token` was refused: the next call asks for a new one, unless another call has done so meanwhile. */
  refused(token: string): void {
    if (token === this.#token) this.#asked = false;
  }

  async #authenticate(credentials: Credentials, endpoint: Endpoint, options: CallOptions): Promise<void> {
    const { username: name, password } = credentials;
    this.#token = await endpoint.calls.auth.authenticate({ name, password }, options).then(
      ({ token }) => token,
      (error: unknown) => {
        // As etcd's own client: credentials for a server that asks for none do no harm.
        if (String(error).includes('authentication is not enabled')) return '';
        throw error;
      },
    );
    this.#asked = true;
  }
}
