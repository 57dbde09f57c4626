import type { Test } from 'tap';

import { type AgentRoute, readAgentRoutes } from '../../src/index.js';
import type { CommandResult } from './child.js';
import { type EtcdKey, EtcdServer } from './etcd_server.js';
import type { Lab, LabHost, LabPod } from './lab.js';
import type { Namespace } from './namespace.js';
import { Scenario, type ScenarioOptions } from './scenario.js';
import { type LogLine, SELVAGE_MAIN, type SelvageDaemon, type SelvageOptions } from './selvage.js';
import { until } from './until.js';

/** flanneld's default prefix, and ours. */
export const PREFIX = '/coreos.com/network';
/** What a state may take to come on a busy machine; only a fault waits so long. */
export const SECONDS = 30;

export interface NetworkOptions extends ScenarioOptions {
  /** Value of the `config` key; that of the lab's network without it, null for none. */
  readonly config?: unknown;
}

/** Hosts, and a real etcd on the underlay with the config of their flannel network. */
export class FlannelNetwork {
  readonly scenario: Scenario;
  readonly lab: Lab;
  readonly etcd: EtcdServer;

  private constructor(scenario: Scenario, etcd: EtcdServer) {
    this.scenario = scenario;
    this.lab = scenario.lab;
    this.etcd = etcd;
  }

  /** Goes when the test ends. */
  static async open(t: Test, { config, ...options }: NetworkOptions = {}): Promise<FlannelNetwork> {
    const scenario = await Scenario.open(t, { ...options, controlPlane: true });
    const { namespace, address } = scenario.lab.controlPlane;
    const etcd = await EtcdServer.start({ host: namespace, address });
    t.teardown(() => etcd.close());
    const network = new FlannelNetwork(scenario, etcd);
    if (config !== null) await network.configure(config ?? { Network: scenario.lab.network });
    await scenario.lab.setPodMtu(scenario.lab.underlayMtu - 28);
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
    const daemon = await this.scenario.start(index, { etcd: this.etcd.endpoint, ...options });
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

/** Whole key of the lease of a subnet. */
export function leaseKey(subnet: string): string {
  return `${PREFIX}/subnets/${subnet.replace('/', '-')}`;
}

/** A lease's value, byte for byte as flanneld's udp backend writes it. */
export function leaseValue(publicIp: string): string {
  return `{"PublicIP":"${publicIp}","PublicIPv6":null}`;
}

/** Whether one echo request is answered. */
export async function answers(from: Namespace, address: string): Promise<boolean> {
  return (await from.exec('ping', ['-n', '-c', '1', '-W', '1', address], { mayFail: true })).code === 0;
}

/** Whether an address answers within the time that a change may take to come. */
export async function reaches(from: Namespace, address: string): Promise<boolean> {
  const answered = until(`${address} to answer`, () => answers(from, address), SECONDS);
  return await answered.catch(() => false);
}

/** Asserts that each of these pods reaches each other one. */
export async function assertAllReach(t: Test, pods: readonly LabPod[], when: string): Promise<void> {
  for (const from of pods) {
    for (const to of pods) {
      if (from !== to) t.ok(await reaches(from, to.address), `${when}: ${from.label} reaches ${to.label}`);
    }
  }
}

/** The next hops in force, by prefix. */
export async function nextHops({ files }: SelvageDaemon): Promise<Record<string, string>> {
  const routes: readonly AgentRoute[] = await readAgentRoutes(files.socket);
  return Object.fromEntries(routes.map(({ prefix, nextHop }) => [prefix, nextHop]));
}

/** Waits for a log line whose text matches. */
export function says(daemon: SelvageDaemon, text: RegExp, from = 0): Promise<LogLine> {
  return daemon.logged(({ msg }) => text.test(msg), SECONDS, from);
}

/** An HTTP answer to a request that is made on a host. */
export async function httpGet(host: LabHost, url: string): Promise<{ status: number; body: string }> {
  const code = `fetch(${JSON.stringify(url)}).then(async (answer) =>
    console.log(JSON.stringify({ status: answer.status, body: await answer.text() })))`;
  const { stdout } = await host.exec(process.execPath, ['-e', code]);
  return JSON.parse(stdout) as { status: number; body: string };
}
