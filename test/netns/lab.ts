import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';

import { Child, searchPath, tail } from './child.js';
import {
  buildHost,
  hasIpv6At,
  KERNEL_HAS_IPV6,
  LabHost,
  LabPod,
  prepareNode,
  setPodMtu,
} from './lab_nodes.js';
import { ChildSet, Namespace } from './namespace.js';
import { registerOpen, unregisterOpen, type Closable } from './open_labs.js';
import { LabRouter, MOST_ROUTED_HOSTS, type Undo } from './router.js';
import { startSelvage, type SelvageDaemon, type SelvageOptions } from './selvage.js';
import { sweepLabs } from './sweep.js';
import { LinkOffload, type OffloadScenario } from './offload.js';

export interface LabOptions {
  /** MTU of the link between the hosts, in bytes; 1500 without it. */
  readonly underlayMtu?: number;
  /** MTU of the pods' `eth0`, in bytes; as the underlay without it. */
  readonly podMtu?: number;
  /** Hosts, each with one pod, 2 to 250: 3 without it behind a router, otherwise 2. Two share a veth pair; more a bridge. */
  readonly hosts?: number;
  /** Whether there is a place for etcd on the underlay, see {@link Lab.controlPlane}. The hosts are joined by a bridge then. */
  readonly controlPlane?: boolean;
  /** Whether the hosts are in underlay networks of their own, which a router joins: see {@link LabRouter}. At most 100 then. */
  readonly router?: boolean;
}

export { LabHost, LabPod } from './lab_nodes.js';

const DEFAULT_MTU = 1500;
const MOST_HOSTS = 250;
const CONTROL_PLANE_IP = '192.168.100.254';
const CONTROL_PLANE_IPV6 = 'fd00:c0::fe';
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
 * All of it has IPv6 beside IPv4: pods fd00:1:1::2/64, bridges fd00:1:1::1/64, hosts fd00:c0::1/64, and so on by the host's number;
 * an interface whose MTU is below 1280 has none. With `router` the hosts are in networks of their own, see {@link LabRouter}.
 *
 * Hosts forward both and have no route to each other's pods: an overlay path, or a daemon under test, brings it.
 * The lab is removed by {@link Lab.close}, and also when the process ends by a signal, an uncaught error or
 * process.exit(). After SIGKILL its processes are gone at once and the next lab removes its namespaces.
 */
export class Lab implements Closable {
  readonly hosts: readonly LabHost[];
  readonly pods: readonly LabPod[];
  readonly underlayMtu: number;
  /** The overlay network that all pods' subnets lie in. */
  readonly network = '10.1.0.0/16';
  /** The same for IPv6. */
  readonly ipv6Network = 'fd00:1::/32';
  /** A directory of the lab's own; removed with it. */
  readonly directory: string;
  readonly #names: string[];
  readonly #children = new ChildSet();
  readonly #offload: LinkOffload;
  readonly #wires: Namespace | null;
  readonly #router: LabRouter | null;
  readonly #hasControlPlane: boolean;
  #closing: Promise<void> | null = null;

  private constructor(count: number, underlayMtu: number, controlPlane: boolean, routed: boolean) {
    const prefix = `selvage-${process.pid}-${++labsMade}`;
    const numbers = Array.from({ length: count }, (_, i) => i + 1);
    this.hosts = numbers.map((n) => new LabHost(`${prefix}-h${n}`, n, this.#children, routed));
    this.pods = numbers.map((n) => new LabPod(`${prefix}-p${n}`, n, this.#children));
    this.#hasControlPlane = controlPlane;
    const between = routed ? 'router' : 'wires';
    this.#wires =
      count > 2 || controlPlane || routed
        ? new Namespace(`${prefix}-${between}`, between, this.#children)
        : null;
    this.#router = routed && this.#wires ? new LabRouter(this.#wires, this.hosts, underlayMtu) : null;
    this.#names = this.namespaces.map((each) => each.name);
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
    const { underlayMtu = DEFAULT_MTU, podMtu = underlayMtu, controlPlane = false, router = false } = options;
    const { hosts = router ? 3 : 2 } = options;
    const most = router ? MOST_ROUTED_HOSTS : MOST_HOSTS;
    if (!Number.isInteger(hosts) || hosts < 2 || hosts > most)
      throw new RangeError(`hosts: ${hosts} is not 2..${most}`);
    await Lab.sweep();
    const lab = new Lab(hosts, underlayMtu, controlPlane, router);
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

  /** All of them: hosts, pods, and what joins the hosts. */
  get namespaces(): readonly Namespace[] {
    return [...this.hosts, ...this.pods, ...(this.#wires ? [this.#wires] : [])];
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
  get controlPlane(): {
    readonly namespace: Namespace;
    readonly address: string;
    readonly ipv6Address: string;
  } {
    if (this.#wires === null || !this.#hasControlPlane) throw new Error('the lab has no control plane');
    return { namespace: this.#wires, address: CONTROL_PLANE_IP, ipv6Address: CONTROL_PLANE_IPV6 };
  }

  /** The namespace of the router. @throws Error unless the lab was made with one */
  get router(): Namespace {
    return this.#routed().namespace;
  }

  /**
   * From now on the router sends no packet larger than this to host `index` (counted from 0) nor takes one from it, and says so by
   * ICMP. Hosts may remember a smaller path MTU for ten minutes: {@link Lab.forgetPathMtu}.
   *
   * @param bytes 68 to the underlay's MTU; IPv6 passes whole up to 1280 at least
   * @returns what sets the MTU back
   */
  setRouterMtu(index: number, bytes: number): Promise<Undo> {
    return this.#routed().setMtu(index, bytes);
  }

  /** From now on the router's "fragmentation needed" and "packet too big" reach nobody; needs nftables. @returns what ends it */
  silenceRouterIcmp(): Promise<Undo> {
    return this.#routed().silenceIcmp();
  }

  /**
   * From now on the router loses packets from and to host `index` (counted from 0) that are larger, and nobody is told: as a
   * switch with a smaller MTU does it. Needs nftables and ethtool; the hosts send no superframes any more, as on a real wire.
   *
   * @param bytes largest IP packet that passes
   * @returns what ends it
   */
  async dropLarge(index: number, bytes: number): Promise<Undo> {
    const router = this.#routed();
    await this.offload('wire');
    return await router.dropLarge(index, bytes);
  }

  /** Lets all hosts and pods forget the path MTUs that they learned from ICMP. */
  async forgetPathMtu(): Promise<void> {
    for (const node of [...this.hosts, ...this.pods]) {
      await node.exec('ip', ['route', 'flush', 'cache']);
      if (KERNEL_HAS_IPV6) await node.exec('ip', ['-6', 'route', 'flush', 'cache']);
    }
  }

  /** Sets the MTU of every pod's `eth0`, its other end and the bridge, in bytes. */
  async setPodMtu(bytes: number): Promise<void> {
    await Promise.all(this.hosts.map((host, i) => setPodMtu(host, this.pod(i), bytes)));
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
    const forwards = (node: Namespace): boolean =>
      node instanceof LabHost || (node === this.#wires && this.#router !== null);
    await Promise.all(this.namespaces.map((node) => prepareNode(node, forwards(node))));
    await this.#joinHosts();
    await Promise.all(this.hosts.map((host, i) => buildHost(host, this.pod(i), this.underlayMtu)));
    const router = this.#router;
    if (router !== null) await Promise.all(this.hosts.map((host) => router.connect(host)));
    await this.setPodMtu(podMtu);
  }

  #routed(): LabRouter {
    if (this.#router === null) throw new Error('the lab has no router');
    return this.#router;
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
    if (this.#router !== null) {
      await this.#router.build();
      await this.#addControlPlane('lo', 32, 128);
      return;
    }
    await this.#wires.ip(`link add wires ${link} type bridge\nlink set wires up`);
    await this.#addControlPlane('wires', 24, 64);
    for (const { number, underlay, name } of this.hosts) {
      await this.#wires.ip(`
        link add w${number} ${link} type veth peer name ${underlay} ${link} netns ${name}
        link set w${number} master wires up`);
    }
  }

  async #addControlPlane(device: string, ipv4Length: number, ipv6Length: number): Promise<void> {
    if (!this.#hasControlPlane) return;
    await this.#wires?.ip(`
      addr add ${CONTROL_PLANE_IP}/${ipv4Length} dev ${device}
      ${hasIpv6At(this.underlayMtu) ? `addr add ${CONTROL_PLANE_IPV6}/${ipv6Length} dev ${device}` : ''}`);
  }
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError(`${index} is not 0..${list.length - 1}`);
  return item;
}
