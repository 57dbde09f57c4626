import { messageOf, SelvageError } from '../errors.js';
import {
  type FirewallNetwork,
  type FirewallRules,
  type FirewallTable,
  type NftObject,
  removalOf,
  replacementOf,
  tableOf,
  tunOf,
} from './firewall_rules.js';
import { forwardDrops } from './forward_policy.js';
import { describeTable, listTables, nft } from './nft.js';
import { PeriodicCheck } from './periodic_check.js';

/** Which rules to keep, and for whom. */
export interface FirewallOptions extends Omit<FirewallRules, 'fullyRandom'> {
  /** The TUN device; the table is called `selvage-<tunName>`, so that several daemons do not meet. */
  readonly tunName: string;
  /** As {@link FirewallRules.fullyRandom}; default true, and false where nft refuses it. */
  readonly fullyRandom?: boolean;
  /** Between two looks at the rules; 0 is never. Default 5. */
  readonly resyncSeconds?: number;
  /** Somebody changed the rules; they have been put back. */
  readonly onRepair: (reason: string) => void;
  /** Something new that an operator should see to; also found in {@link Firewall.warnings}. */
  readonly onWarning: (message: string) => void;
  /** The rules could not be looked at or put back; told once until it works again. */
  readonly onError: (error: Error) => void;
  /** After {@link onError}: they could be looked at again, and are in force. */
  readonly onRecovery: () => void;
}

export const DEFAULT_RESYNC_SECONDS = 5;

/**
 * The firewall rules of one TUN device: one nftables table of family `inet` (Linux 5.2 for its nat chain), always replaced as
 * a whole, in step with what was asked for. Needs CAP_NET_ADMIN and the command `nft`. Main thread.
 */
export class Firewall {
  readonly #options: FirewallOptions;
  /** Of the present device. */
  #table: FirewallTable;
  readonly #check: PeriodicCheck;
  readonly #warnings: string[] = [];
  #rules: FirewallRules;
  /** The table as the kernel gave it back after it was installed. */
  #installed: string | undefined;

  private constructor(options: FirewallOptions) {
    const { networks, masquerade, forward, fullyRandom = true } = options;
    this.#options = options;
    this.#table = tableOf(options.tunName);
    this.#rules = { networks, masquerade, forward, fullyRandom };
    const { resyncSeconds = DEFAULT_RESYNC_SECONDS, onError, onRecovery } = options;
    this.#check = new PeriodicCheck(resyncSeconds, () => this.#keep(), onError, onRecovery);
  }

  /**
   * Installs the rules, in place of any that an earlier run left for this device.
   *
   * @throws SelvageError ERR_COMMAND_MISSING, ERR_COMMAND_FAILED or ERR_PREFIX_INVALID; the rules are as they were
   */
  static async open(options: FirewallOptions): Promise<Firewall> {
    const firewall = new Firewall(options);
    try {
      await firewall.#check.between(() => firewall.#start());
      return firewall;
    } catch (error) {
      await firewall.close();
      throw error;
    }
  }

  /** Everything {@link FirewallOptions.onWarning} was called with. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /**
   * Replaces the rules by those for other networks and perhaps another device, as after a new lease; in one transaction with
   * the removal of the former device's table.
   *
   * @throws as {@link Firewall.open}
   */
  update(tunName: string, networks: readonly FirewallNetwork[]): Promise<void> {
    return this.#check.between(async () => {
      const [table, rules] = [this.#table, this.#rules];
      this.#table = tableOf(tunName);
      this.#rules = { ...rules, networks };
      try {
        await this.#install(this.#table.name === table.name ? [] : removalOf(table));
      } catch (error) {
        [this.#table, this.#rules] = [table, rules];
        throw error;
      }
    });
  }

  /** Stops looking. The rules stay, as flanneld leaves its own: see {@link removeFirewall}. May be called twice. */
  close(): Promise<void> {
    return this.#check.close();
  }

  async #start(): Promise<void> {
    try {
      await this.#install();
    } catch (error) {
      if (!this.#rules.masquerade || !this.#rules.fullyRandom || !isRefusal(error)) throw error;
      await this.#startWithoutRandom(error);
    }
    // A fault here says nothing about our own rules, which are in.
    await this.#warnOfDrops().catch((error: unknown) =>
      this.#options.onError(error instanceof Error ? error : new Error(String(error))),
    );
  }

  /** Whether it was the flag that was refused shows in that it works without. */
  async #startWithoutRandom(refusal: unknown): Promise<void> {
    this.#rules = { ...this.#rules, fullyRandom: false };
    try {
      await this.#install();
    } catch {
      throw refusal;
    }
    this.#warn(`masquerading without fully-random source ports, which nft refused (${messageOf(refusal)})`);
  }

  async #install(removal: readonly NftObject[] = []): Promise<void> {
    await nft([...removal, ...replacementOf(this.#table, this.#rules)]);
    this.#installed = await describeTable(this.#table);
  }

  async #keep(): Promise<void> {
    const found = await describeTable(this.#table);
    if (found !== this.#installed) {
      await this.#install();
      this.#options.onRepair(
        `the table inet ${this.#table.name} was ${found === undefined ? 'gone' : 'changed'}`,
      );
    }
    await this.#warnOfDrops();
  }

  async #warnOfDrops(): Promise<void> {
    if (!this.#rules.forward) return;
    const networks = this.#rules.networks.map(({ network }) => network);
    for (const message of await forwardDrops(networks, this.#table)) this.#warn(message);
  }

  #warn(message: string): void {
    if (this.#warnings.includes(message)) return;
    this.#warnings.push(message);
    this.#options.onWarning(message);
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof SelvageError && error.code === 'ERR_COMMAND_FAILED';
}

/**
 * Removes the rules of a TUN device, whoever left them there.
 *
 * @returns whether there were any
 * @throws SelvageError ERR_COMMAND_MISSING or ERR_COMMAND_FAILED
 */
export async function removeFirewall(tunName: string): Promise<boolean> {
  if (!(await listFirewalls()).includes(tunName)) return false;
  await nft(removalOf(tableOf(tunName)));
  return true;
}

/**
 * The TUN devices, there or not, that have firewall rules on this host.
 *
 * @throws SelvageError ERR_COMMAND_MISSING or ERR_COMMAND_FAILED
 */
export async function listFirewalls(): Promise<string[]> {
  return (await listTables()).flatMap((table) => tunOf(table) ?? []);
}
