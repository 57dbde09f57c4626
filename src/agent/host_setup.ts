import { BlackholeRoute, removeBlackholeRoute } from '../host/blackhole_route.js';
import { DEFAULT_RESYNC_SECONDS, Firewall } from '../host/firewall.js';
import type { FirewallNetwork } from '../host/firewall_rules.js';
import { PeriodicCheck } from '../host/periodic_check.js';
import { readSubnetFile, writeSubnetFile } from '../host/subnet_file.js';
import type { RouteSnapshot } from '../lease/route_source.js';
import type { AgentFirewall } from './agent_options.js';
import { Attempt } from './attempt.js';

/** What {@link HostSetup} takes. */
export interface HostSetupOptions {
  readonly firewall: AgentFirewall | undefined;
  readonly blackholeRoute: boolean;
  readonly subnetFile: string | undefined;
  /** Between two looks at what is set up, and between two attempts at what could not be; 0 never looks, and tries again every 5. */
  readonly resyncSeconds: number;
  /** Something works less well than asked for, or does again. */
  readonly onWarning: (message: string) => void;
}

/** The place that the host is set up for. */
type Place = Pick<RouteSnapshot, 'network' | 'subnet' | 'ipv6Network' | 'ipv6Subnet'>;

/** A place, and the device there. */
interface Target {
  readonly place: Place;
  readonly tunName: string;
  readonly mtuBytes: number;
  readonly port: number;
}

/**
 * What of the host follows the lease beside the device: firewall, blackhole route, subnet file; in this order, so that a
 * reader of the file finds the rules in force. All of it stays when the daemon ends, as with flanneld. What fails is tried
 * again until it works, and forwarding goes on meanwhile; but masquerading is had at once or not at all.
 */
export class HostSetup {
  readonly #options: HostSetupOptions;
  readonly #forwardRules: Attempt | undefined;
  readonly #blackholeRoute: Attempt | undefined;
  readonly #subnetFile: Attempt | undefined;
  #target: Target | undefined;
  /** Tries again what failed. */
  #again: PeriodicCheck | undefined;
  #firewall: Firewall | undefined;
  #blackhole: BlackholeRoute | undefined;
  /** Subnets whose blackhole route, should they have one, is not ours any more. */
  readonly #formerSubnets = new Set<string>();
  /** Why what was set up could not be looked at. */
  #firewallFault: string | undefined;
  #blackholeFault: string | undefined;

  constructor(options: HostSetupOptions) {
    this.#options = options;
    const { firewall, blackholeRoute, subnetFile, onWarning: onTold } = options;
    if (firewall?.forward === true && !firewall.masquerade) {
      this.#forwardRules = new Attempt({
        work: () => this.#setFirewall(),
        failed: (why) => `the forward rules are not in force: ${why}`,
        works: () => 'the forward rules are in force now',
        onTold,
      });
    }
    if (blackholeRoute) {
      this.#blackholeRoute = new Attempt({
        work: () => this.#setBlackhole(),
        failed: (why) => `the blackhole route is not as it should be: ${why}`,
        works: () => 'the blackhole route is there now',
        onTold,
      });
    }
    if (subnetFile !== undefined) {
      // As flanneld: forwarding goes on, but the host is not ready, because no pod can be attached.
      this.#subnetFile = new Attempt({
        work: () => this.#writeSubnetFile(subnetFile),
        failed: (why) => `${subnetFile} could not be written, so no pod can be attached: ${why}`,
        works: () => `${subnetFile} is written now`,
        onTold,
      });
    }
  }

  /** Why the rules may not be in force; undefined when they are, or none were asked for. */
  get firewallError(): string | undefined {
    return this.#forwardRules?.error ?? this.#firewallFault;
  }

  /** Why the blackhole route may not be there; undefined when it is, or none was asked for. */
  get blackholeError(): string | undefined {
    return this.#blackholeRoute?.error ?? this.#blackholeFault;
  }

  /** Whether the subnet file tells of the present lease, and why not. */
  get subnetFile(): { path: string; written: boolean; error?: string } | undefined {
    const { subnetFile: path } = this.#options;
    if (path === undefined || this.#subnetFile === undefined) return undefined;
    const { done, error } = this.#subnetFile;
    return { path, written: done, ...(error === undefined ? {} : { error }) };
  }

  /**
   * Sets the host up for a place, the first or another.
   *
   * @param port of the datagrams
   * @throws SelvageError when masquerading was asked for and cannot be had: pods would silently have no way out. All else
   *   that fails is a warning, and is tried again.
   */
  async apply(place: Place, tunName: string, mtuBytes: number, port: number): Promise<void> {
    const seconds = this.#options.resyncSeconds || DEFAULT_RESYNC_SECONDS;
    // What can fail here tells it itself.
    this.#again ??= new PeriodicCheck(
      seconds,
      () => this.#attemptAll(),
      () => undefined,
    );
    await this.#again.between(async () => {
      for (const subnet of subnetsOf(this.#target?.place)) this.#formerSubnets.add(subnet);
      this.#target = { place, tunName, mtuBytes, port };
      for (const part of this.#parts()) part.renew();
      if (this.#options.firewall?.masquerade === true) await this.#setFirewall();
      await this.#attemptAll();
    });
  }

  /** Ends the checks and attempts; what was set up stays. */
  async close(): Promise<void> {
    await this.#again?.close();
    await this.#firewall?.close();
    await this.#blackhole?.close();
  }

  /** In the order of the class's description. */
  #parts(): Attempt[] {
    const parts = [this.#forwardRules, this.#blackholeRoute, this.#subnetFile];
    return parts.filter((part) => part !== undefined);
  }

  async #attemptAll(): Promise<void> {
    for (const part of this.#parts()) await part.attempt();
  }

  async #setFirewall(): Promise<void> {
    const { firewall, resyncSeconds, onWarning } = this.#options;
    const { place, tunName, port } = this.#target!;
    const networks: FirewallNetwork[] = [];
    if (place.network !== undefined && place.subnet !== undefined) {
      networks.push({ network: place.network, subnet: place.subnet, port });
    }
    if (place.ipv6Network !== undefined && place.ipv6Subnet !== undefined) {
      networks.push({ network: place.ipv6Network, subnet: place.ipv6Subnet, port });
    }
    if (this.#firewall !== undefined) {
      await this.#firewall.update(tunName, networks);
    } else {
      this.#firewall = await Firewall.open({
        tunName,
        masquerade: firewall!.masquerade,
        forward: firewall!.forward,
        fullyRandom: firewall!.fullyRandom ?? true,
        networks,
        resyncSeconds,
        onRepair: (reason) => onWarning(`the firewall rules were put back: ${reason}`),
        onWarning,
        onError: (error) => {
          this.#firewallFault = error.message;
          onWarning(`the firewall rules could not be checked: ${error.message}`);
        },
        onRecovery: () => (this.#firewallFault = undefined),
      });
    }
    this.#firewallFault = undefined;
  }

  async #setBlackhole(): Promise<void> {
    const { resyncSeconds, onWarning } = this.#options;
    const subnets = subnetsOf(this.#target!.place);
    await this.#noteFormerSubnets();
    if (this.#blackhole !== undefined) {
      await this.#blackhole.update(subnets);
    } else {
      this.#blackhole = await BlackholeRoute.open({
        subnets,
        resyncSeconds,
        onRepair: (reason) => onWarning(`the blackhole route was put back: ${reason}`),
        onError: (error) => {
          this.#blackholeFault = error.message;
          onWarning(`the blackhole route could not be checked: ${error.message}`);
        },
        onRecovery: () => (this.#blackholeFault = undefined),
      });
    }
    this.#blackholeFault = undefined;
    for (const subnet of this.#formerSubnets) {
      if (!subnets.includes(subnet)) await removeBlackholeRoute(subnet);
      this.#formerSubnets.delete(subnet);
    }
  }

  /** What an earlier run left for another subnet would swallow the frames for the subnet's new owner. */
  async #noteFormerSubnets(): Promise<void> {
    const { subnetFile } = this.#options;
    if (subnetFile === undefined) return;
    // One that cannot be read names none.
    for (const subnet of subnetsOf(await readSubnetFile(subnetFile).catch(() => undefined))) {
      this.#formerSubnets.add(subnet);
    }
  }

  async #writeSubnetFile(path: string): Promise<void> {
    const { place, mtuBytes } = this.#target!;
    const ipMasq = this.#options.firewall?.masquerade ?? false;
    await writeSubnetFile(path, { ...place, mtuBytes, ipMasq });
  }
}

function subnetsOf(place: { subnet?: string; ipv6Subnet?: string } | undefined): string[] {
  return [place?.subnet, place?.ipv6Subnet].filter((subnet) => subnet !== undefined);
}
