import { runCommand } from './run_command.js';
import { PeriodicCheck } from './periodic_check.js';

/** Which route to keep. */
export interface BlackholeRouteOptions {
  /** This host's own subnet, or subnets: canonical prefixes, IPv4 or IPv6. */
  readonly subnets: readonly string[];
  /** Between two looks at the routes; 0 is never. */
  readonly resyncSeconds: number;
  /** A route was gone and has been put back. */
  readonly onRepair: (reason: string) => void;
  /** The route could not be looked at or put back; told once until it works again. */
  readonly onError: (error: Error) => void;
  /** After {@link onError}: the routes could be looked at again, and are there. */
  readonly onRecovery: () => void;
}

/** Worse than any other route to the subnet, above all the bridge's own, which has 0 (IPv4) or 256 (IPv6). */
const METRIC = 4_000_000_000;

/**
 * Keeps a blackhole route to this host's own subnet in the main table: while the bridge is away, as before the first pod, a
 * frame for a local pod would otherwise follow the overlay's route into the TUN device, or the default route out of the host.
 * Needs CAP_NET_ADMIN. Main thread.
 */
export class BlackholeRoute {
  readonly #onRepair: (reason: string) => void;
  readonly #check: PeriodicCheck;
  #subnets: readonly string[];

  private constructor({ subnets, resyncSeconds, onRepair, onError, onRecovery }: BlackholeRouteOptions) {
    this.#subnets = subnets;
    this.#onRepair = onRepair;
    this.#check = new PeriodicCheck(resyncSeconds, () => this.#keep(), onError, onRecovery);
  }

  /** @throws SelvageError ERR_COMMAND_MISSING or ERR_COMMAND_FAILED */
  static async open(options: BlackholeRouteOptions): Promise<BlackholeRoute> {
    const route = new BlackholeRoute(options);
    try {
      await route.#check.between(() => addAll(options.subnets));
      return route;
    } catch (error) {
      await route.close();
      throw error;
    }
  }

  /**
   * Keeps routes to other subnets, as after a new lease, and removes those of before: they would swallow what is meant for the
   * subnet's next owner.
   *
   * @throws SelvageError ERR_COMMAND_FAILED
   */
  update(subnets: readonly string[]): Promise<void> {
    return this.#check.between(async () => {
      const former = this.#subnets.filter((subnet) => !subnets.includes(subnet));
      this.#subnets = subnets;
      for (const subnet of former) await removeBlackholeRoute(subnet);
      await addAll(subnets);
    });
  }

  /** Stops looking. The route stays, as flanneld leaves it: see {@link removeBlackholeRoute}. May be called twice. */
  close(): Promise<void> {
    return this.#check.close();
  }

  async #keep(): Promise<void> {
    for (const subnet of this.#subnets) {
      if (await isThere(subnet)) continue;
      await add(subnet);
      this.#onRepair(`the blackhole route to ${subnet} was gone`);
    }
  }
}

/**
 * Removes the route that {@link BlackholeRoute} left.
 *
 * @param subnet canonical prefix, IPv4 or IPv6
 * @returns whether there was one
 * @throws SelvageError ERR_COMMAND_MISSING or ERR_COMMAND_FAILED
 */
export async function removeBlackholeRoute(subnet: string): Promise<boolean> {
  if (!(await isThere(subnet))) return false;
  await ip(subnet, 'delete', 'blackhole', subnet, 'metric', String(METRIC));
  return true;
}

async function addAll(subnets: readonly string[]): Promise<void> {
  for (const subnet of subnets) if (!(await isThere(subnet))) await add(subnet);
}

async function add(subnet: string): Promise<void> {
  await ip(subnet, 'add', 'blackhole', subnet, 'metric', String(METRIC));
}

/** A blackhole of an operator's own, with another metric, is none of ours. */
async function isThere(subnet: string): Promise<boolean> {
  const output = await ip(subnet, 'show', 'type', 'blackhole', 'exact', subnet);
  const routes = JSON.parse(output === '' ? '[]' : output) as { metric?: number }[];
  return routes.some(({ metric }) => metric === METRIC);
}

function ip(subnet: string, ...words: string[]): Promise<string> {
  const family = subnet.includes(':') ? '-6' : '-4';
  return runCommand('ip', ['-json', family, 'route', ...words], { debianPackage: 'iproute2' });
}
