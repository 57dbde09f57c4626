import { setTimeout as sleep } from 'node:timers/promises';

import type { CallOptions } from '@connectrpc/connect';

import { SelvageError } from '../../errors.js';
import { Authenticator } from './authenticator.js';
import { Endpoint } from './endpoint.js';
import { EndpointPool } from './endpoint_pool.js';
import type { CheckedEtcdOptions } from './etcd_options.js';
import { CONNECTION_ENDED, type Fault, faultOf } from './fault.js';
import { LinkedSignal } from './linked_signal.js';

/** A server without a leader refuses such a call instead of keeping it (etcd v3rpc, metadata key `hasleader`). */
const REQUIRE_LEADER = { hasleader: 'true' };
/** A server is tried this often in one call: a connection that had died unnoticed costs the first. */
const ROUNDS = 2;

/**
 * One try of a call at one server.
 *
 * @param opened for calls that stay open: they got as far as that, and what happens from now on is no failed try
 */
export type Attempt<T> = (
  endpoint: Endpoint,
  options: CallOptions & { readonly signal: AbortSignal },
  opened: () => void,
) => Promise<T>;

/** What a call brought. */
export interface Answer<T> {
  readonly value: T;
  /** An earlier try of the call may have been carried out as well: its answer was lost. */
  readonly maybeDoneBefore: boolean;
}

/** A try that failed. */
interface Failure {
  readonly fault: Fault;
  /** What the fault was made of. */
  readonly cause: unknown;
  /** The token that was used. */
  readonly token: string;
}

type Outcome<T> = { readonly value: T } | Failure;

/** What has become of a call so far. */
interface Progress {
  readonly deadline: number;
  readonly tried: Endpoint[];
  readonly failures: Map<Endpoint, Failure>;
  maybeDone: boolean;
  renewedToken: boolean;
}

/**
 * Calls to etcd: to one server, and to the next when that fails, within one deadline. Every attempt must be safe to repeat.
 */
export class EtcdClient {
  /** E.g. `etcd http://192.0.2.1:2379,http://192.0.2.2:2379`. */
  readonly name: string;
  readonly #pool: EndpointPool;
  readonly #authenticator: Authenticator;
  readonly #timeoutMillis: number;
  readonly #keyBase: string;
  readonly #closing = new AbortController();

  constructor(options: CheckedEtcdOptions) {
    this.name = `etcd ${options.endpoints.join(',')}`;
    this.#pool = new EndpointPool(options.endpoints.map((origin) => new Endpoint(origin, options.tls)));
    this.#authenticator = new Authenticator(options.credentials);
    this.#timeoutMillis = options.requestTimeoutMillis;
    this.#keyBase = options.keyBase;
  }

  /**
   * @throws SelvageError ERR_STORE_UNAVAILABLE, ERR_STORE_DENIED, ERR_STORE_COMPACTED or ERR_CLOSED; or the reason of
   *   `signal`
   */
  async call<T>(attempt: Attempt<T>, signal: AbortSignal): Promise<Answer<T>> {
    const linked = new LinkedSignal(signal, this.#closing.signal);
    try {
      linked.signal.throwIfAborted();
      return await this.#call(attempt, linked.signal);
    } catch (error) {
      linked.signal.throwIfAborted();
      throw error;
    } finally {
      linked.release();
    }
  }

  /** Ends all calls and connections. */
  close(): void {
    this.#closing.abort(new SelvageError('ERR_CLOSED', `${this.name}: the store is closed`));
    for (const endpoint of this.#pool.endpoints) endpoint.close();
  }

  async #call<T>(attempt: Attempt<T>, signal: AbortSignal): Promise<Answer<T>> {
    const progress: Progress = {
      deadline: performance.now() + this.#timeoutMillis,
      tried: [],
      failures: new Map(),
      maybeDone: false,
      renewedToken: false,
    };
    for (;;) {
      const endpoint = await this.#nextEndpoint(progress, signal);
      const outcome = await this.#try(endpoint, attempt, this.#shareOf(progress), signal);
      if ('value' in outcome) return { value: outcome.value, maybeDoneBefore: progress.maybeDone };
      this.#settle(endpoint, outcome, progress);
    }
  }

  /** Waits until the next server may be tried. */
  async #nextEndpoint(progress: Progress, signal: AbortSignal): Promise<Endpoint> {
    const endpoint = this.#pool.pick(progress.tried);
    const { waitMillis } = endpoint;
    const spent = progress.tried.length >= ROUNDS * this.#pool.endpoints.length;
    if (spent || performance.now() + waitMillis >= progress.deadline)
      throw this.#unreachable(progress.failures);
    if (waitMillis > 0) await sleep(waitMillis, undefined, { signal });
    return endpoint;
  }

  /** Milliseconds for the next try: half of what is left as long as another server has not been tried. */
  #shareOf({ deadline, tried }: Progress): number {
    const left = deadline - performance.now();
    return tried.length + 1 < this.#pool.endpoints.length ? left / 2 : left;
  }

  async #try<T>(
    endpoint: Endpoint,
    attempt: Attempt<T>,
    millis: number,
    signal: AbortSignal,
  ): Promise<Outcome<T>> {
    const linked = new LinkedSignal(signal);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      linked.abort(undefined);
    }, millis);
    let open = false;
    const opened = (): void => {
      open = true;
      clearTimeout(timer);
      this.#pool.worked(endpoint);
    };
    let token = '';
    try {
      token = await this.#authenticator.token(endpoint, new Headers(REQUIRE_LEADER), millis, linked.signal);
      const headers = new Headers(REQUIRE_LEADER);
      if (token !== '') headers.set('token', token);
      const value = await attempt(endpoint, { signal: linked.signal, headers }, opened);
      this.#pool.worked(endpoint);
      return { value };
    } catch (error) {
      signal.throwIfAborted();
      if (late) endpoint.dropCalls();
      const fault = late ? noAnswer(millis) : withDoubt(faultOf(error), endpoint);
      if (!open) return { fault, cause: error, token };
      if (error instanceof SelvageError) throw error; // of a call inside this one
      if (fault.kind === 'server') this.#pool.failed(endpoint, fault.reason);
      throw this.#errorOf(endpoint, fault, error);
    } finally {
      clearTimeout(timer);
      linked.release();
      linked.abort(undefined); // a stream that was left before its end is closed by nothing else
    }
  }

  /** Decides what a failed try means. @throws SelvageError when another would not help */
  #settle(endpoint: Endpoint, failure: Failure, progress: Progress): void {
    const { fault, cause, token } = failure;
    progress.maybeDone ||= fault.maybeDone;
    if (fault.kind === 'server' || fault.kind === 'tls') {
      progress.tried.push(endpoint);
      // A certificate that was refused may show as an ended connection the next time; it tells less.
      if (progress.failures.get(endpoint)?.fault.kind !== 'tls') progress.failures.set(endpoint, failure);
      this.#pool.failed(endpoint, fault.reason);
      return;
    }
    const mayRenew = fault.kind === 'token' || fault.kind === 'permission';
    if (!mayRenew || progress.renewedToken || this.#authenticator.username === undefined)
      throw this.#errorOf(endpoint, fault, cause);
    progress.renewedToken = true;
    this.#authenticator.refused(token);
  }

  /** All servers that were tried failed; those of other calls count when there was no time for a try of our own. */
  #unreachable(failures: ReadonlyMap<Endpoint, Failure>): SelvageError {
    const texts = this.#pool.endpoints.map((endpoint) => {
      return `${endpoint.origin}: ${failures.get(endpoint)?.fault.reason ?? (endpoint.lastFault || 'not tried')}`;
    });
    const all = [...failures.values()];
    const denied = all.length > 0 && all.every(({ fault }) => fault.kind === 'tls');
    const code = denied ? 'ERR_STORE_DENIED' : 'ERR_STORE_UNAVAILABLE';
    return new SelvageError(code, `etcd ${texts.join('; ')}`, { cause: all.at(-1)?.cause });
  }

  #errorOf(endpoint: Endpoint, fault: Fault, cause: unknown): SelvageError {
    const text = (reason: string): string => `etcd ${endpoint.origin}: ${reason}`;
    const { username } = this.#authenticator;
    switch (fault.kind) {
      case 'token':
      case 'credentials':
        return new SelvageError('ERR_STORE_DENIED', text(credentialsText(username, fault)), { cause });
      case 'permission':
        return new SelvageError('ERR_STORE_DENIED', text(permissionText(username, this.#keyBase)), { cause });
      case 'compacted':
        return new SelvageError('ERR_STORE_COMPACTED', text(fault.reason), { cause });
      case 'tls':
        return new SelvageError('ERR_STORE_DENIED', text(fault.reason), { cause });
      default:
        return new SelvageError('ERR_STORE_UNAVAILABLE', text(fault.reason), { cause });
    }
  }
}

function withDoubt(fault: Fault, { doubt }: Endpoint): Fault {
  return fault.reason === CONNECTION_ENDED ? { ...fault, reason: fault.reason + doubt } : fault;
}

function noAnswer(millis: number): Fault {
  return { kind: 'server', reason: `no answer within ${(millis / 1000).toFixed(1)} s`, maybeDone: true };
}

function credentialsText(username: string | undefined, fault: Fault): string {
  if (username === undefined) return 'it wants a user: give etcd-username and etcd-password';
  if (fault.kind === 'token') return `it refuses the token it gave user "${username}": ${fault.reason}`;
  return `wrong password, or no such user "${username}": check etcd-username and etcd-password`;
}

function permissionText(username: string | undefined, keyBase: string): string {
  const who =
    username === undefined
      ? 'give etcd-username and etcd-password; or the user of the client certificate'
      : `user "${username}"`;
  const grant = `etcdctl role grant-permission ROLE readwrite --prefix ${keyBase}`;
  return `permission denied: ${who} needs to read and write what is below ${keyBase} (${grant})`;
}
