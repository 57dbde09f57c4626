import { EtcdServer } from '../../test/netns/etcd_server.js';
import { Lab } from '../../test/netns/lab.js';
import { ensurePackages, LAB_PACKAGES } from '../../test/netns/packages.js';
import { LabProgram } from './lab_program.js';
import { NETWORK_CONFIG } from './made_leases.js';
import type { EtcdInput, EtcdMessage, HostInput, HostMessage, NetworkPlace } from './messages.js';

/** Two hosts for packets, and one that only joins: its lease is not a pod's subnet. */
const HOSTS = 3;
const JOINING_HOST = 2;

/** Work for `etcd_program.ts`, without the place. */
export type EtcdWork = EtcdInput extends infer Input
  ? Input extends EtcdInput
    ? Omit<Input, keyof NetworkPlace>
    : never
  : never;

/**
 * Hosts, etcd beside them, and networks in it with different numbers of leases, so that they can take turns.
 *
 * ```text
 *  pod1 - host1 ---+          +--- host2 - pod2
 *                  +--wires---+
 *          host3 --+    |
 *                      etcd: /bench/100, /bench/1000, /bench/10000
 * ```
 */
export class BenchLab {
  readonly lab: Lab;
  readonly etcd: EtcdServer;
  #hosts = 0;

  private constructor(lab: Lab, etcd: EtcdServer) {
    this.lab = lab;
    this.etcd = etcd;
  }

  static async open(): Promise<BenchLab> {
    ensurePackages([...LAB_PACKAGES, 'etcd-server', 'etcd-client']);
    const lab = await Lab.create({ hosts: HOSTS, controlPlane: true });
    try {
      const { namespace, address } = lab.controlPlane;
      return new BenchLab(lab, await EtcdServer.start({ host: namespace, address }));
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** The network with so many leases. */
  place(leases: number): NetworkPlace {
    return { endpoint: this.etcd.endpoint, prefix: `/bench/${leases}` };
  }

  /** Makes the network with so many leases. */
  async seed(leases: number): Promise<void> {
    await this.etcd.put(`${this.place(leases).prefix}/config`, NETWORK_CONFIG);
    const { publicIp } = this.lab.host(JOINING_HOST);
    await this.startAtEtcd(leases, { work: 'seed', leases, publicIp }).told('seeded');
  }

  /** Starts the program that joins the network with so many leases. */
  startHost(leases: number, lanes: number): LabProgram<HostMessage> {
    const host = this.lab.host(JOINING_HOST);
    const stateDirectory = `${this.lab.directory}/state-${++this.#hosts}`;
    const input: HostInput = { ...this.place(leases), iface: host.underlay, lanes, stateDirectory };
    return new LabProgram(host, 'host_program', input);
  }

  startAtEtcd(leases: number, work: EtcdWork): LabProgram<EtcdMessage> {
    const input: EtcdInput = { ...this.place(leases), ...work };
    return new LabProgram(this.lab.controlPlane.namespace, 'etcd_program', input);
  }

  async close(): Promise<void> {
    await this.etcd.close();
    await this.lab.close();
  }
}
