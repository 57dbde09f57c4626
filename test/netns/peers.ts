import { fastd, hostGateway, openvpn, selvage, vxlan, type Carrier } from './carriers.js';
import { tail, type Child } from './child.js';
import type { Lab } from './lab.js';
import type { SelvageOptions } from './selvage.js';

export { startOpenvpn } from './carriers.js';

export type PathName = 'host-gw' | 'vxlan' | 'openvpn' | 'fastd' | 'selvage';

/** Every path, fastest last resort first. */
export const PATH_NAMES: readonly PathName[] = ['host-gw', 'vxlan', 'openvpn', 'fastd', 'selvage'];

/** One way for the pods of a lab to reach each other. May be started and stopped many times, one path at a time. */
export interface OverlayPath {
  readonly name: PathName;
  /** MTU of the pods' `eth0` on this path, in bytes. */
  readonly overlayMtu: number;
  /**
   * Sets it up on every host and gives the pods its MTU; resolves when a ping has crossed.
   *
   * @throws Error with the reason and the forwarders' output; nothing of it is left then
   */
  start(): Promise<void>;
  /** Takes it down. A path that is not up is no error. */
  stop(): Promise<void>;
  /** The userspace forwarders, for CPU accounting: one per host; none where the kernel forwards. */
  pids(): number[];
  /** What the forwarders printed, for a report of a failure. */
  output(): string;
}

export interface PathOptions {
  /** For the path `selvage`: how its daemons are started. */
  readonly selvage?: SelvageOptions;
}

/** Seconds in which a ping must have crossed a path that was started. */
const PING_SECONDS = 15;

/** Describes a path through `lab`; nothing happens before {@link OverlayPath.start}. */
export function createPath(lab: Lab, name: PathName, options: PathOptions = {}): OverlayPath {
  const carriers: Record<PathName, Carrier> = {
    'host-gw': hostGateway,
    vxlan,
    openvpn,
    fastd,
    selvage: selvage(options.selvage ?? {}),
  };
  return new LabPath(lab, name, carriers[name]);
}

class LabPath implements OverlayPath {
  readonly name: PathName;
  readonly overlayMtu: number;
  readonly #lab: Lab;
  readonly #carrier: Carrier;
  #forwarders: Child[] = [];

  constructor(lab: Lab, name: PathName, carrier: Carrier) {
    this.name = name;
    this.overlayMtu = lab.underlayMtu - carrier.headerBytes;
    this.#lab = lab;
    this.#carrier = carrier;
  }

  async start(): Promise<void> {
    try {
      this.#forwarders = await this.#carrier.start(this.#lab);
      await this.#lab.setPodMtu(this.overlayMtu);
      await this.#firstPing();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    const forwarders = this.#forwarders;
    this.#forwarders = [];
    await Promise.all(forwarders.map((child) => child.terminate(5)));
    await this.#carrier.stop(this.#lab);
  }

  pids(): number[] {
    return this.#forwarders.map((child) => child.pid);
  }

  output(): string {
    return this.#forwarders
      .map((child) => `${child.title}\n${tail(child.stdout + child.stderr, 40)}`)
      .join('\n');
  }

  /** Handshakes and neighbour discovery are behind us once a ping has come back. */
  async #firstPing(): Promise<void> {
    const [from, to] = [this.#lab.pod(0), this.#lab.pod(1)];
    const args = ['-n', '-c', '1', '-i', '0.1', '-w', String(PING_SECONDS), to.address];
    const { code } = await from.exec('ping', args, { mayFail: true, timeoutSeconds: PING_SECONDS + 5 });
    if (code !== 0) throw new Error(`${this.name}: no answer to ping in ${PING_SECONDS} s\n${this.output()}`);
  }
}
