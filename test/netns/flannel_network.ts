import type { Test } from 'tap';

import type { CommandResult } from './child.js';
import { says } from './daemon_checks.js';
import { type EtcdKey, EtcdServer, type EtcdServerOptions } from './etcd_server.js';
import type { Lab } from './lab.js';
import { Scenario, type ScenarioOptions } from './scenario.js';
import {
  networkConfig,
  type NetworkKind,
  overheadBytes,
  SELVAGE_MAIN,
  type SelvageDaemon,
  type SelvageOptions,
} from './selvage.js';

/** flanneld's default prefix, and ours. */
export const PREFIX = '/coreos.com/network';

export interface NetworkOptions extends ScenarioOptions, NetworkKind {
  /** Value of the `config` key; that of the lab's network, of these families, without it, null for none. */
  readonly config?: unknown;
}

/** Hosts, and a real etcd on the underlay with the config of their flannel network. */
export class FlannelNetwork {
  readonly scenario: Scenario;
  readonly lab: Lab;
  readonly etcd: EtcdServer;
  readonly #kind: NetworkKind;

  private constructor(scenario: Scenario, etcd: EtcdServer, kind: NetworkKind) {
    this.#kind = kind;
    this.scenario = scenario;
    this.lab = scenario.lab;
    this.etcd = etcd;
  }

  /** Goes when the test ends. */
  static async open(
    t: Test,
    { config, families, underlay, ...options }: NetworkOptions = {},
  ): Promise<FlannelNetwork> {
    const scenario = await Scenario.open(t, { ...options, controlPlane: true });
    const etcd = await startEtcd(scenario.lab);
    t.teardown(() => etcd.close());
    const kind: NetworkKind = { ...(families && { families }), ...(underlay && { underlay }) };
    const network = new FlannelNetwork(scenario, etcd, kind);
    if (config !== null) await network.configure(config ?? networkConfig(scenario.lab, kind));
    await scenario.lab.setPodMtu(scenario.lab.underlayMtu - overheadBytes(kind));
    return network;
  }

  /** Writes the network config; a text as it is. */
  async configure(config: unknown): Promise<void> {
    await this.etcd.put(`${PREFIX}/config`, typeof config === 'string' ? config : JSON.stringify(config));
  }

  /**
   * Starts the daemon of host `index` (counted from 0), see {@link Scenario.start}, and waits until it holds a lease, unless
   * only `spawned` is wanted: with saved routes it forwards before it has confirmed its lease.
   */
  async start(index: number, options: SelvageOptions = {}): Promise<SelvageDaemon> {
    const daemon = await this.scenario.start(index, { etcd: this.etcd.endpoint, ...this.#kind, ...options });
    if (options.started !== 'spawned') await says(daemon, /lease acquired/);
    return daemon;
  }

  /** Everything below `subnets`, in order of key. */
  async leases(): Promise<EtcdKey[]> {
    return await this.etcd.list(`${PREFIX}/subnets`);
  }

  /** The lease with this subnet (`10.1.2.0/24`). @throws Error when there is none */
  async lease(subnet: string): Promise<EtcdKey> {
    const lease = await this.etcd.get(leaseKey(subnet));
    if (lease === undefined) throw new Error(`${subnet} is not leased`);
    return lease;
  }

  /** Seconds until a lease of etcd ends. */
  async remainingSeconds({ lease }: EtcdKey): Promise<number> {
    const { stdout } = await this.etcd.etcdctl(['lease', 'timetolive', lease]);
    return Number(/remaining\((-?\d+)s\)/.exec(stdout)?.[1]);
  }

  /** Writes a lease as flanneld does: with a time limit of a day. */
  async putAsFlanneld(subnet: string, publicIp: string): Promise<void> {
    await this.etcd.put(leaseKey(subnet), leaseValue(publicIp), await this.etcd.grant(86_400));
  }

  /** Runs a command of `selvage` where etcd is, e.g. `['lease', 'list']`. */
  async selvage(args: readonly string[]): Promise<CommandResult> {
    const { namespace } = this.lab.controlPlane;
    const all = [SELVAGE_MAIN, ...args, '--etcd-endpoints', this.etcd.endpoint];
    return await namespace.exec(process.execPath, all, { mayFail: true });
  }
}

/** A server at the lab's control plane whose network is the lab's. Its data begin empty each time. */
export async function startNetwork(
  lab: Lab,
  options: Omit<EtcdServerOptions, 'host' | 'address'> = {},
): Promise<EtcdServer> {
  const etcd = await startEtcd(lab, options);
  await etcd.put(`${PREFIX}/config`, JSON.stringify({ Network: lab.network }));
  return etcd;
}

function startEtcd(
  { controlPlane: { namespace, address } }: Lab,
  options: Omit<EtcdServerOptions, 'host' | 'address'> = {},
): Promise<EtcdServer> {
  return EtcdServer.start({ host: namespace, address, ...options });
}

/** Whole key of the lease of a subnet. */
export function leaseKey(subnet: string): string {
  return `${PREFIX}/subnets/${subnet.replace('/', '-')}`;
}

/** A lease's value, byte for byte as flanneld's udp backend writes it; with a PublicIPv6 as selvage does. */
export function leaseValue(publicIp: string, publicIpv6?: string): string {
  return JSON.stringify({ PublicIP: publicIp, PublicIPv6: publicIpv6 ?? null });
}
