import type { Test } from 'tap';

import type { SelvageError } from '../../src/errors.js';
import type { LeaseEvent } from '../../src/lease/lease_event.js';
import { LeaseSource } from '../../src/lease/lease_source.js';
import type { LeaseSourceListener, LeaseSourceOptions } from '../../src/lease/lease_source_options.js';
import type { LeaseStore } from '../../src/lease/store/lease_store.js';
import { formatLeaseValue } from '../../src/lease/lease_value.js';
import type { MemorySpace } from '../../src/lease/store/memory_space.js';
import { MemoryStore } from '../../src/lease/store/memory_store.js';
import type { RouteChange, RouteSnapshot } from '../../src/lease/route_source.js';
import { until } from '../netns/until.js';

export const DAY_SECONDS = 86_400;

/** A method of a store that can be made to fail. */
export type Method =
  'get' | 'list' | 'watch' | 'create' | 'replace' | 'remove' | 'prolong' | 'remainingSeconds';

/** A memory store with a hook around each call: what it throws is the caller's fault to see. */
export class HookedStore extends MemoryStore implements LeaseStore {
  /** Before the call reaches the space. */
  before: (method: Method, key: string) => void | Promise<void> = () => {};
  /** After it has, so that a throw is an answer that was lost. */
  after: (method: Method, key: string) => void | Promise<void> = () => {};
  /** Calls so far. */
  readonly calls: { readonly method: Method; readonly key: string }[] = [];

  override get: LeaseStore['get'] = (key, signal) => this.#hook('get', key, () => super.get(key, signal));
  override list: LeaseStore['list'] = (key, signal) => this.#hook('list', key, () => super.list(key, signal));
  override create: LeaseStore['create'] = (key, value, ttl, signal) =>
    this.#hook('create', key, () => super.create(key, value, ttl, signal));
  override replace: LeaseStore['replace'] = (entry, value, ttl, signal) =>
    this.#hook('replace', entry.key, () => super.replace(entry, value, ttl, signal));
  override remove: LeaseStore['remove'] = (entry, signal) =>
    this.#hook('remove', entry.key, () => super.remove(entry, signal));
  override watch: LeaseStore['watch'] = (prefix, after, listener, signal) =>
    this.#hook('watch', prefix, () => super.watch(prefix, after, listener, signal));

  async #hook<T>(method: Method, key: string, call: () => Promise<T>): Promise<T> {
    this.calls.push({ method, key });
    await this.before(method, key);
    const result = await call();
    await this.after(method, key);
    return result;
  }
}

/** One host: its source, and everything that it told. */
export class Host implements LeaseSourceListener {
  readonly store: HookedStore;
  readonly source: LeaseSource;
  readonly events: LeaseEvent[] = [];
  /** What was told in order: kinds of events, and `changes` for each call with route changes. */
  readonly order: string[] = [];
  readonly calls: (readonly RouteChange[])[] = [];
  /** Subnet and public IP of each peer, by what was told. */
  readonly peers = new Map<string, string>();
  snapshot: RouteSnapshot | undefined;
  ended: SelvageError | undefined;

  constructor(store: HookedStore, options: LeaseSourceOptions) {
    this.store = store;
    this.source = new LeaseSource(options);
  }

  async open(): Promise<RouteSnapshot> {
    const first = await this.source.open(this);
    this.#take(first);
    return first;
  }

  onLeaseEvent(event: LeaseEvent): void {
    this.events.push(event);
    this.order.push(event.kind);
  }

  onChanges(changes: readonly RouteChange[]): void {
    this.calls.push(changes);
    this.order.push('changes');
    for (const change of changes) {
      if (change.kind === 'snapshot') this.#take(change.snapshot);
      else if (change.kind === 'set') this.peers.set(change.peer.subnet, change.peer.publicIp);
      else this.peers.delete(change.subnet);
    }
  }

  onError(error: SelvageError): void {
    this.order.push(`error ${error.code}`);
  }

  onEnd(error: SelvageError): void {
    this.ended = error;
    this.order.push('end');
  }

  of<K extends LeaseEvent['kind']>(kind: K): Extract<LeaseEvent, { kind: K }>[] {
    return this.events.filter((event): event is Extract<LeaseEvent, { kind: K }> => event.kind === kind);
  }

  /** Waits for the `count`th event of a kind. */
  heard<K extends LeaseEvent['kind']>(kind: K, count = 1): Promise<Extract<LeaseEvent, { kind: K }>> {
    return until(
      `event ${kind} number ${count}, heard ${this.order.join(' ')}`,
      () => this.of(kind)[count - 1],
    );
  }

  /** Waits until a subnet leads to a public IP, or (undefined) to nowhere. */
  async routes(subnet: string, publicIp: string | undefined): Promise<void> {
    await until(`${subnet} to lead to ${publicIp}`, () => this.peers.get(subnet) === publicIp);
  }

  #take(snapshot: RouteSnapshot): void {
    this.snapshot = snapshot;
    this.peers.clear();
    for (const { subnet, publicIp } of snapshot.peers) this.peers.set(subnet, publicIp);
  }
}

let hosts = 0;

/** A host on a space; closed at the end of the test. */
export function makeHost(t: Test, space: MemorySpace, options: Partial<LeaseSourceOptions>): Host {
  const store = new HookedStore(space);
  hosts++;
  const host = new Host(store, { store, host: { id: `id-${hosts}`, name: `host-${hosts}` }, ...options });
  t.teardown(async () => {
    await host.source.close();
    await store.close();
  });
  return host;
}

/** Sixteen subnets, 10.1.0.0/24 to 10.1.15.0/24. */
export const SIXTEEN = JSON.stringify({
  Network: '10.1.0.0/16',
  SubnetLen: 24,
  SubnetMin: '10.1.0.0',
  SubnetMax: '10.1.15.0',
});

export function putConfig(space: MemorySpace, text = SIXTEEN): void {
  space.put('config', text, 0);
}

export function keyOf(subnet: string): string {
  return `subnets/${subnet.replace('/', '-')}`;
}

/** The same with a /48 of IPv6. */
export const DUAL = SIXTEEN.replace('{', '{"EnableIPv6":true,"IPv6Network":"fd00:1::/48",');
export const IPV6_ONLY = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:1::/48"}';

export function valueOf(publicIp: string, publicIpv6?: string): string {
  return formatLeaseValue({
    publicIp,
    ...(publicIpv6 === undefined ? {} : { publicIpv6 }),
    backendType: '',
  });
}

/** Writes a lease as another host or an operator would. */
export function putLease(
  space: MemorySpace,
  subnet: string,
  publicIp: string,
  ttlSeconds = DAY_SECONDS,
): void {
  space.put(keyOf(subnet), valueOf(publicIp), ttlSeconds);
}
