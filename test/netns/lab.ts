import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';

import { Child, searchPath, tail } from './child.js';
import { ChildSet, Namespace } from './namespace.js';
import { registerOpen, unregisterOpen, type Closable } from './open_labs.js';
import { startSelvage, type SelvageDaemon, type SelvageOptions } from './selvage.js';
import { sweepLabs } from './sweep.js';
import { LinkOffload, type OffloadScenario } from './offload.js';

export interface LabOptions {
  /** MTU of the link between the hosts, in bytes; 1500 without it. */
  readonly underlayMtu?: number;
  /** MTU of the pods' `eth0`, in bytes; as the underlay without it. */
  readonly podMtu?: number;
  /** Hosts, each with one pod, 2 to 250. Two hosts share a veth pair; more are joined by a bridge. */
  readonly hosts?: number;
  /** Whether there is a place for etcd on the underlay, see {@link Lab.controlPlane}. The hosts are joined by a bridge then. */
  readonly controlPlane?: boolean;
}

/** A host: it owns a subnet of the overlay and speaks to the other hosts over the underlay. */
export class LabHost extends Namespace {
  /** 1 for host1. */
  readonly number: number;
  /** The pods' subnet here, e.g. `10.1.1.0/24`. */
  readonly subnet: string;
  /** Address of the bridge `cni0`, e.g. `10.1.1.1`. */
  readonly bridgeIp: string;
  /** Name of the underlay interface, e.g. `u1`. */
  readonly underlay: string;
  /** Address of the underlay interface, e.g. `192.168.100.1`. */
  readonly publicIp: string;

  constructor(name: string, number: number, children: ChildSet) {
    super(name, `host${number}`, children);
    this.number = number;
    this.subnet = `10.1.${number}.0/24`;
    this.bridgeIp = `10.1.${number}.1`;
    this.underlay = `u${number}`;
    this.publicIp = `192.168.100.${number}`;
  }
}

/** A pod: one interface `eth0` on its host's bridge. */
export class LabPod extends Namespace {
  readonly number: number;
  /** Address of `eth0`, e.g. `10.1.1.2`. */
  readonly address: string;

  constructor(name: string, number: number, children: ChildSet) {
    super(name, `pod${number}`, children);
    this.number = number;
    this.address = `10.1.${number}.2`;
  }
}

const DEFAULT_MTU = 1500;
const CONTROL_PLANE_IP = '192.168.100.254';
/** Namespaces are named `selvage-<pid of the creator>-<this count>-<h1, p1, ...>`, so labs in parallel do not clash. */
let labsMade = 0;

/**
 * Hosts and pods in private network namespaces:
 *
 * ```
 *  pod1 (ns)            host1 (ns)                                host2 (ns)            pod2 (ns)
 *  eth0 10.1.1.2/24 --- pod - cni0 10.1.1.1/24 (bridge)           cni0 10.1.2.1/24 --- eth0 10.1.2.2/24
 *                       u1 192.168.100.1/24 -------- veth ------- u2 192.168.100.2/24
 * ```
 *
 * Hosts forward IPv4 and have no route to each other's pods: an overlay path, or a daemon under test, brings it.
 * The lab is removed by {@link Lab.close}, and also when the process ends by a signal, an uncaught error or
 * process.exit(). After SIGKILL its processes are gone at once and the next lab removes its namespaces.
 */
export class Lab implements Closable {
  readonly hosts: readonly LabHost[];
  readonly pods: readonly LabPod[];
  readonly underlayMtu: number;
  /** The overlay network that all pods' subnets lie in. */
  readonly network = '10.1.0.0/16';
  /** A directory of the lab's own; removed with it. */
  readonly directory: string;
  readonly #names: string[];
  readonly #children = new ChildSet();
  readonly #offload: LinkOffload;
  readonly #wires: Namespace | null;
  readonly #hasControlPlane: boolean;
  #closing: Promise<void> | null = null;

  private constructor(count: number, underlayMtu: number, controlPlane: boolean) {
    const prefix = `selvage-${process.pid}-${++labsMade}`;
    const numbers = Array.from({ length: count }, (_, i) => i + 1);
    this.hosts = numbers.map((n) => new LabHost(`${prefix}-h${n}`, n, this.#children));
    this.pods = numbers.map((n) => new LabPod(`${prefix}-p${n}`, n, this.#children));
    this.#hasControlPlane = controlPlane;
    this.#wires =
      count > 2 || controlPlane ? new Namespace(`${prefix}-wires`, 'wires', this.#children) : null;
    this.#names = [...this.hosts, ...this.pods, ...(this.#wires ? [this.#wires] : [])].map(
      (each) => each.name,
    );
    this.underlayMtu = underlayMtu;
    this.directory = mkdtempSync(join(tmpdir(), `${prefix}-`));
    this.#offload = new LinkOffload(this.hosts);
  }

  /**
   * Builds a lab. Needs the privileges that `ensurePrivileges()` provides.
   *
   * @throws Error with the failing command's output; whatever had been made is removed
   */
  static async create(options: LabOptions = {}): Promise<Lab> {
    const { underlayMtu = DEFAULT_MTU, podMtu = underlayMtu, hosts = 2, controlPlane = false } = options;
    if (!Number.isInteger(hosts) || hosts < 2 || hosts > 250)
      throw new RangeError(`hosts: ${hosts} is not 2..250`);
    await Lab.sweep();
    const lab = new Lab(hosts, underlayMtu, controlPlane);
    registerOpen(lab);
    try {
      await lab.#build(podMtu);
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Removes namespaces and directories of labs whose process is dead (SIGKILL leaves them behind). Returns their names. */
  static sweep(): Promise<string[]> {
    return sweepLabs();
  }

  /** The other hosts, as seen from one of them. */
  othersOf(host: LabHost): LabHost[] {
    return this.hosts.filter((other) => other !== host);
  }

  /** @throws RangeError when there is no host `index`, counted from 0 */
  host(index: number): LabHost {
    return at(this.hosts, index);
  }

  /** @throws RangeError when there is no pod `index`, counted from 0 */
  pod(index: number): LabPod {
    return at(this.pods, index);
  }

  /** A machine on the underlay that is no host of the overlay. @throws Error unless the lab was made with one */
  get controlPlane(): { readonly namespace: Namespace; readonly address: string } {
    if (this.#wires === null || !this.#hasControlPlane) throw new Error('the lab has no control plane');
    return { namespace: this.#wires, address: CONTROL_PLANE_IP };
  }

  /** Sets the MTU of every pod's `eth0`, its other end and the bridge, in bytes. */
  async setPodMtu(bytes: number): Promise<void> {
    const each = this.hosts.map(async (host, i) => {
      await host.ip(`link set pod mtu ${bytes}\nlink set cni0 mtu ${bytes}`);
      await this.pod(i).ip(`link set eth0 mtu ${bytes}`);
    });
    await Promise.all(each);
  }

  /** Makes the underlay behave as `scenario` says; see {@link OffloadScenario}. */
  offload(scenario: OffloadScenario): Promise<void> {
    return this.#offload.apply(scenario);
  }

  /** Starts `selvage run` on host `index` (counted from 0) and waits until it forwards. */
  startSelvage(index: number, options: SelvageOptions = {}): Promise<SelvageDaemon> {
    return startSelvage(this, index, options);
  }

  /** Ends every process, removes every namespace and the directory. May be called twice, and while it is being built. */
  close(): Promise<void> {
    this.#closing ??= this.#remove();
    return this.#closing;
  }

  closeNow(): void {
    this.#children.killNow();
    for (const name of this.#names)
      spawnSync('ip', ['netns', 'del', name], { env: { ...process.env, PATH: searchPath() } });
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #remove(): Promise<void> {
    await this.#children.close();
    // A name that was never made is no error here: the lab may be closed half-built.
    await Promise.all(this.#names.map((name) => new Child(['ip', 'netns', 'del', name]).exited));
    rmSync(this.directory, { recursive: true, force: true });
    unregisterOpen(this);
  }

  async #build(podMtu: number): Promise<void> {
    for (const name of this.#names) await this.#addNamespace(name);
    await Promise.all([...this.hosts, ...this.pods, ...(this.#wires ? [this.#wires] : [])].map(prepare));
    await this.#joinHosts();
    await Promise.all(this.hosts.map((host, i) => buildHost(host, this.pod(i), this.underlayMtu)));
    await this.setPodMtu(podMtu);
  }

  async #addNamespace(name: string): Promise<void> {
    const child = this.#children.start(['ip', 'netns', 'add', name], {}, `ip netns add ${name}`);
    const { code, stderr } = await child.result(20);
    if (code !== 0) throw new Error(`ip netns add ${name}: exit code ${code}\n${tail(stderr)}`);
  }

  async #joinHosts(): Promise<void> {
    const link = `mtu ${this.underlayMtu}`;
    if (this.#wires === null) {
      const [one, two] = [this.host(0), this.host(1)];
      return one.ip(`link add u1 ${link} type veth peer name u2 ${link} netns ${two.name}`);
    }
    await this.#wires.ip(`link add wires ${link} type bridge\nlink set wires up`);
    if (this.#hasControlPlane) await this.#wires.ip(`addr add ${CONTROL_PLANE_IP}/24 dev wires`);
    for (const { number, underlay, name } of this.hosts) {
      await this.#wires.ip(`
        link add w${number} ${link} type veth peer name ${underlay} ${link} netns ${name}
        link set w${number} master wires up`);
    }
  }
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError(`${index} is not 0..${list.length - 1}`);
  return item;
}

/** Loopback up, and no IPv6 duplicate address detection: it makes addresses unusable for their first second. */
async function prepare(namespace: Namespace): Promise<void> {
  if (namespace instanceof LabHost) await namespace.sysctl({ 'net/ipv4/ip_forward': 1 });
  const disabled = await namespace.exec('test', ['-d', '/proc/sys/net/ipv6'], { mayFail: true });
  if (disabled.code === 0) {
    await namespace.sysctl({ 'net/ipv6/conf/all/accept_dad': 0, 'net/ipv6/conf/default/accept_dad': 0 });
  }
  await namespace.ip('link set lo up');
}

async function buildHost(host: LabHost, pod: LabPod, mtu: number): Promise<void> {
  await host.ip(`
    addr add ${host.publicIp}/24 dev ${host.underlay}
    link set ${host.underlay} up
    link add cni0 mtu ${mtu} type bridge
    addr add ${host.bridgeIp}/24 dev cni0
    link add pod mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${pod.name}
    link set pod master cni0 up
    link set cni0 up`);
  await pod.ip(`
    addr add ${pod.address}/24 dev eth0
    link set eth0 up
    route add default via ${host.bridgeIp}`);
}
