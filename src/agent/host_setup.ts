import { messageOf } from '../errors.js';
import { BlackholeRoute, removeBlackholeRoute } from '../host/blackhole_route.js';
import { Firewall } from '../host/firewall.js';
import { readSubnetFile, writeSubnetFile } from '../host/subnet_file.js';
import type { RouteSnapshot } from '../lease/route_source.js';
import type { AgentFirewall } from './agent_options.js';

/** What {@link HostSetup} takes. */
export interface HostSetupOptions {
  readonly firewall: AgentFirewall | undefined;
  readonly blackholeRoute: boolean;
  readonly subnetFile: string | undefined;
  readonly resyncSeconds: number;
  /** Something works less well than asked for. */
  readonly onWarning: (message: string) => void;
}

/** The place that the host is set up for. */
type Place = Pick<RouteSnapshot, 'network' | 'subnet' | 'ipv6Network' | 'ipv6Subnet'>;

/**
 * What of the host follows the lease beside the device: firewall, blackhole route, subnet file; in this order, so that a
 * reader of the file finds the rules in force. All of it stays when the daemon ends, as with flanneld.
 */
export class HostSetup {
  readonly #options: HostSetupOptions;
  #firewall: Firewall | undefined;
  #blackhole: BlackholeRoute | undefined;
  #firewallError: string | undefined;
  #subnetFileError: string | undefined;
  #subnetFileWritten = false;

  constructor(options: HostSetupOptions) {
    this.#options = options;
  }

  /** Why the rules are not in force; undefined when they are, or none were asked for. */
  get firewallError(): string | undefined {
    return this.#firewallError;
  }

  /** Whether the subnet file tells of the present lease, and why not. */
  get subnetFile(): { path: string; written: boolean; error?: string } | undefined {
    const { subnetFile: path } = this.#options;
    if (path === undefined) return undefined;
    const error = this.#subnetFileError;
    return { path, written: this.#subnetFileWritten, ...(error === undefined ? {} : { error }) };
  }

  /**
   * Sets the host up for a place, the first or another.
   *
   * @throws SelvageError when masquerading was asked for and cannot be had: pods would silently have no way out
   */
  async apply(place: Place, tunName: string, mtuBytes: number): Promise<void> {
    await this.#applyFirewall(place, tunName);
    await this.#applyBlackhole(place);
    await this.#applySubnetFile(place, mtuBytes);
  }

  /** Ends the checks; what was set up stays. */
  async close(): Promise<void> {
    await this.#firewall?.close();
    await this.#blackhole?.close();
  }

  async #applyFirewall(place: Place, tunName: string): Promise<void> {
    const { firewall, resyncSeconds, onWarning } = this.#options;
    if (firewall === undefined || (!firewall.masquerade && !firewall.forward)) return;
    const networks = [{ network: place.network, subnet: place.subnet }];
    if (place.ipv6Network !== undefined && place.ipv6Subnet !== undefined) {
      networks.push({ network: place.ipv6Network, subnet: place.ipv6Subnet });
    }
    try {
      if (this.#firewall !== undefined) {
        await this.#firewall.update(networks);
      } else {
        this.#firewall = await Firewall.open({
          tunName,
          masquerade: firewall.masquerade,
          forward: firewall.forward,
          fullyRandom: firewall.fullyRandom ?? true,
          networks,
          resyncSeconds,
          onRepair: (reason) => onWarning(`the firewall rules were put back: ${reason}`),
          onWarning,
          onError: (error) => {
            this.#firewallError = error.message;
            onWarning(`the firewall rules could not be checked: ${error.message}`);
          },
          onRecovery: () => (this.#firewallError = undefined),
        });
      }
      this.#firewallError = undefined;
    } catch (error) {
      if (firewall.masquerade) throw error;
      this.#firewallError = messageOf(error);
      onWarning(`the forward rules are not in force: ${messageOf(error)}`);
    }
  }

  async #applyBlackhole(place: Place): Promise<void> {
    const { blackholeRoute, resyncSeconds, onWarning } = this.#options;
    if (!blackholeRoute) return;
    const subnets = [place.subnet, place.ipv6Subnet].filter((subnet) => subnet !== undefined);
    await this.#removeFormerBlackhole(subnets);
    if (this.#blackhole !== undefined) return await this.#blackhole.update(subnets);
    this.#blackhole = await BlackholeRoute.open({
      subnets,
      resyncSeconds,
      onRepair: (reason) => onWarning(`the blackhole route was put back: ${reason}`),
      onError: (error) => onWarning(`the blackhole route could not be checked: ${error.message}`),
    });
  }

  /** What an earlier run left for another subnet would swallow the frames for the subnet's new owner. */
  async #removeFormerBlackhole(subnets: readonly string[]): Promise<void> {
    const { subnetFile } = this.#options;
    if (subnetFile === undefined) return;
    const former = await readSubnetFile(subnetFile).catch(() => ({
      subnet: undefined,
      ipv6Subnet: undefined,
    }));
    for (const subnet of [former.subnet, former.ipv6Subnet]) {
      if (subnet !== undefined && !subnets.includes(subnet)) await removeBlackholeRoute(subnet);
    }
  }

  async #applySubnetFile(place: Place, mtuBytes: number): Promise<void> {
    const { subnetFile: path, firewall, onWarning } = this.#options;
    if (path === undefined) return;
    try {
      await writeSubnetFile(path, { ...place, mtuBytes, ipMasq: firewall?.masquerade ?? false });
      this.#subnetFileWritten = true;
      this.#subnetFileError = undefined;
    } catch (error) {
      // As flanneld: forwarding goes on, but the host is not ready, because no pod can be attached.
      this.#subnetFileWritten = false;
      this.#subnetFileError = messageOf(error);
      onWarning(`${path} could not be written, so no pod can be attached: ${messageOf(error)}`);
    }
  }
}
