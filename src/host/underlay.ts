import { SelvageError } from '../errors.js';
import { runCommand } from './run_command.js';

/** The interface that carries datagrams between hosts. */
export interface Underlay {
  readonly interface: string;
  /** IPv4 address in dotted quad. */
  readonly address: string;
  /** MTU of the interface, bytes. */
  readonly mtuBytes: number;
}

interface AddressEntry {
  readonly family: string;
  readonly local: string;
  readonly scope: string;
}

interface LinkEntry {
  readonly ifname: string;
  readonly mtu: number;
  readonly addr_info: readonly AddressEntry[];
}

interface RouteEntry {
  readonly dev?: string;
  readonly prefsrc?: string;
}

/** What to look for: an interface name, one of its addresses, or neither for the default route's interface. */
export interface UnderlayChoice {
  readonly interface?: string;
  readonly address?: string;
}

/**
 * Finds the underlay interface and address.
 *
 * @throws SelvageError ERR_UNDERLAY_NOT_FOUND, naming what is there instead
 */
export async function findUnderlay(choice: UnderlayChoice): Promise<Underlay> {
  const links = await listLinks();
  if (choice.interface !== undefined) return onInterface(links, choice.interface, choice.address);
  if (choice.address !== undefined) return withAddress(links, choice.address);
  return onInterface(links, await defaultRouteInterface(links));
}

async function ipJson<T>(...args: string[]): Promise<T> {
  const output = await runCommand('ip', ['-json', ...args], { debianPackage: 'iproute2' });
  return JSON.parse(output === '' ? '[]' : output) as T;
}

async function listLinks(): Promise<readonly LinkEntry[]> {
  return await ipJson<LinkEntry[]>('-4', 'address', 'show');
}

async function defaultRouteInterface(links: readonly LinkEntry[]): Promise<string> {
  const routes = await ipJson<RouteEntry[]>('-4', 'route', 'show', 'default');
  const name = routes[0]?.dev;
  if (name !== undefined) return name;
  throw new SelvageError(
    'ERR_UNDERLAY_NOT_FOUND',
    `there is no default route to tell the underlay interface: name it with --iface (there are: ${names(links)})`,
  );
}

function names(links: readonly LinkEntry[]): string {
  return links.map((link) => link.ifname).join(', ') || 'none';
}

function ipv4Addresses(link: LinkEntry): string[] {
  const inet = link.addr_info.filter((entry) => entry.family === 'inet');
  const global = inet.filter((entry) => entry.scope === 'global');
  return [...global, ...inet.filter((entry) => entry.scope !== 'global')].map((entry) => entry.local);
}

function onInterface(links: readonly LinkEntry[], name: string, address?: string): Underlay {
  const link = links.find((candidate) => candidate.ifname === name);
  if (link === undefined) {
    throw new SelvageError(
      'ERR_UNDERLAY_NOT_FOUND',
      `there is no interface ${name} with an IPv4 address (there are: ${names(links)})`,
    );
  }
  const addresses = ipv4Addresses(link);
  const chosen = address ?? addresses[0];
  if (chosen === undefined || !addresses.includes(chosen)) {
    throw new SelvageError(
      'ERR_UNDERLAY_NOT_FOUND',
      `interface ${name} has no IPv4 address ${address ?? ''}`.trimEnd() +
        ` (it has: ${addresses.join(', ') || 'none'})`,
    );
  }
  return { interface: link.ifname, address: chosen, mtuBytes: link.mtu };
}

function withAddress(links: readonly LinkEntry[], address: string): Underlay {
  const link = links.find((candidate) => ipv4Addresses(candidate).includes(address));
  if (link !== undefined) return { interface: link.ifname, address, mtuBytes: link.mtu };
  throw new SelvageError(
    'ERR_UNDERLAY_NOT_FOUND',
    `no interface has the address ${address} (there are: ${links.flatMap(ipv4Addresses).join(', ') || 'none'})`,
  );
}
