import { randomBytes } from 'node:crypto';

import { Code, ConnectError } from '@connectrpc/connect';

import type { EtcdClient } from './etcd_client.js';

/** What etcd knows of a grant. */
export interface GrantState {
  /** Seconds left, rounded down; below 0 when there is no such grant. */
  readonly seconds: number;
  /** Keys, as etcd has them, whose life it bounds. */
  readonly keys: readonly Uint8Array[];
}

/**
 * The longest time limit that etcd grants (lease/lessor.go MaxLeaseTTL). For a moment after its election a leader says more,
 * namely that a grant never ends (Lease.Remaining before lessor.Promote): whoever believed it would never renew.
 */
const MOST_SECONDS = 9_000_000_000n;

/**
 * Time limits: etcd calls them leases. All ids are etcd's 63-bit lease ids.
 */
export class LeaseGrants {
  readonly #client: EtcdClient;

  constructor(client: EtcdClient) {
    this.#client = client;
  }

  /** @returns the id of a new grant, which we choose: asking again after a lost answer makes no second one */
  async grant(ttlSeconds: number, signal: AbortSignal): Promise<bigint> {
    const id = randomBytes(8).readBigUInt64BE() >> 1n;
    await this.#client.call(async ({ calls: { lease } }, options) => {
      await lease
        .leaseGrant({ TTL: BigInt(Math.ceil(ttlSeconds)), ID: id }, options)
        .catch((error: unknown) => {
          if (!isAnswer(error, Code.FailedPrecondition, 'lease already exists')) throw error;
        });
    }, signal);
    return id;
  }

  /** Ends a grant, and with it the keys that it bounds. One that has ended already is no error. */
  async revoke(id: bigint, signal: AbortSignal): Promise<void> {
    await this.#client.call(async ({ calls: { lease } }, options) => {
      await lease.leaseRevoke({ ID: id }, options).catch((error: unknown) => {
        if (!isAnswer(error, Code.NotFound, 'lease not found')) throw error;
      });
    }, signal);
  }

  /** Ends a grant unless keys are bound to it, as those that an operator added. */
  async revokeUnused(id: bigint, signal: AbortSignal): Promise<void> {
    const { seconds, keys } = await this.state(id, signal);
    if (seconds >= 0 && keys.length === 0) await this.revoke(id, signal);
  }

  async state(id: bigint, signal: AbortSignal): Promise<GrantState> {
    const { value } = await this.#client.call(async ({ calls: { lease } }, options) => {
      const answer = await lease.leaseTimeToLive({ ID: id, keys: true }, options);
      if (answer.TTL <= MOST_SECONDS) return answer;
      throw new ConnectError('the leader is too new to know the time left', Code.Unavailable);
    }, signal);
    return { seconds: Number(value.TTL), keys: value.keys };
  }

  /** Starts a grant anew. @returns false when there is no such grant */
  async prolong(id: bigint, signal: AbortSignal): Promise<boolean> {
    const { value } = await this.#client.call(async ({ calls: { lease } }, options) => {
      for await (const { TTL } of lease.leaseKeepAlive(oneRequest(id, options.signal), options))
        return TTL > 0n;
      throw new ConnectError('the server ended the request', Code.Unavailable);
    }, signal);
    return value;
  }
}

/** The stream stays open until the answer is there: its end would end the call (etcd v3rpc LeaseServer.leaseKeepAlive). */
async function* oneRequest(id: bigint, signal: AbortSignal): AsyncGenerator<{ ID: bigint }> {
  yield { ID: id };
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

function isAnswer(error: unknown, code: Code, text: string): boolean {
  return error instanceof ConnectError && error.code === code && error.rawMessage.includes(text);
}
