import { isIPv4 } from 'node:net';

import { messageOf, SelvageError } from '../errors.js';
import { allIpv4Addresses, globalIpv6Address, type HostLink, usableIpv4Addresses } from './host_link.js';
import { runCommand } from './run_command.js';

/** The interface that carries datagrams between hosts. */
export interface Underlay {
  readonly interface: string;
  /** IPv4 address in dotted quad. */
  readonly address: string;
  /** Its first global IPv6 address; absent when it has none. */
  readonly ipv6Address?: string;
  /** MTU of the interface, bytes. */
  readonly mtuBytes: number;
}

/**
 * Which interface to take: tried in the order below, as flanneld does; the first that is found is taken. With nothing named it
 * is the one that has `publicIp`, else the default route's.
 */
export interface UnderlayChoice {
  /** Names or IPv4 addresses of interfaces. */
  readonly iface?: readonly string[];
  /**
   * Regular expressions, each tried on every address and then on every name; a part may match. They are JavaScript's in
   * Unicode mode and not Go's RE2 as in flanneld: `(?i)`, `(?P<n>`, `\A`, `\z` and `[[:alpha:]]` are refused.
   */
  readonly ifaceRegex?: readonly string[];
  /** An IPv4 address: the interface that the kernel would send to it from. */
  readonly ifaceCanReach?: string;
  /** The address that peers are told. One that no interface has (as behind NAT) does not matter here. */
  readonly publicIp?: string;
}

interface RouteEntry {
  readonly dev?: string;
  readonly prefsrc?: string;
  readonly nexthops?: readonly { readonly dev?: string }[];
}

interface Found {
  readonly link: HostLink;
  readonly address: string;
}

/** Looks for an interface; a text says why there is none. */
type Attempt = (links: readonly HostLink[]) => Promise<Found | string> | Found | string;

/** Interfaces that a message lists; a host with a thousand pods has a thousand. */
const MOST_LISTED = 16;

/**
 * Finds the underlay interface and address. Asked once: a later change needs a new call.
 *
 * @throws SelvageError ERR_UNDERLAY_NOT_FOUND, naming what was tried and what there is; ERR_OPTION for a regular
 *   expression or address that is none
 */
export async function findUnderlay(choice: UnderlayChoice): Promise<Underlay> {
  const attempts = attemptsOf(choice);
  const links = await ipJson<HostLink>('address', 'show');
  const reasons: string[] = [];
  for (const attempt of attempts) {
    const found = await attempt(links);
    if (typeof found !== 'string') return toUnderlay(found);
    reasons.push(found);
  }
  throw notFound(`${reasons.join('; ')} (there are: ${describe(links)})`);
}

function attemptsOf(choice: UnderlayChoice): Attempt[] {
  const { iface = [], ifaceRegex = [], ifaceCanReach, publicIp } = choice;
  const named: Attempt[] = [
    ...iface.map((text) => (isIPv4(text) ? withAddress(text) : withName(text))),
    ...ifaceRegex.map(matching),
    ...(ifaceCanReach === undefined ? [] : [reaching(ifaceCanReach)]),
  ];
  if (named.length > 0) return named;
  return [...(publicIp === undefined ? [] : [withAddress(publicIp)]), ofDefaultRoute];
}

function withAddress(address: string): Attempt {
  return (links) => {
    const link = links.find((candidate) => allIpv4Addresses(candidate).includes(address));
    return link === undefined ? `no interface has the address ${address}` : { link, address };
  };
}

function withName(name: string): Attempt {
  return (links) => {
    const link = links.find(({ ifname }) => ifname === name);
    return link === undefined ? `there is no interface ${name}` : firstAddress(link);
  };
}

function firstAddress(link: HostLink): Found | string {
  const [address] = usableIpv4Addresses(link);
  return address === undefined ? `interface ${link.ifname} has no usable IPv4 address` : { link, address };
}

function matching(text: string): Attempt {
  const pattern = compile(text);
  return (links) => {
    const candidates = links.flatMap((link) =>
      usableIpv4Addresses(link).map((address) => ({ link, address })),
    );
    return (
      candidates.find(({ address }) => pattern.test(address)) ??
      candidates.find(({ link }) => pattern.test(link.ifname)) ??
      `no IPv4 address and no name of an interface that has one matches ${text}`
    );
  };
}

function compile(text: string): RegExp {
  if (text.includes('[[:')) throw badRegex(text, 'POSIX classes such as [[:digit:]] are written \\d');
  try {
    return new RegExp(text, 'u'); // Unicode mode refuses escapes that mean nothing here instead of taking them as letters
  } catch (cause) {
    throw badRegex(text, messageOf(cause), cause);
  }
}

function badRegex(text: string, why: string, cause?: unknown): SelvageError {
  const message = `ifaceRegex: ${text} is not a JavaScript regular expression: ${why}`;
  return new SelvageError('ERR_OPTION', message, { cause });
}

function reaching(target: string): Attempt {
  if (!isIPv4(target))
    throw new SelvageError('ERR_OPTION', `ifaceCanReach: ${target} is not an IPv4 address`);
  return async (links) => {
    const own = await withAddress(target)(links); // the kernel would say `lo`
    if (typeof own !== 'string') return own;
    let routes: RouteEntry[];
    try {
      routes = await ipJson<RouteEntry>('-4', 'route', 'get', target);
    } catch (error) {
      return `no way to ${target}: ${messageOf(error)}`;
    }
    const { dev, prefsrc } = routes[0] ?? {};
    const link = links.find(({ ifname }) => ifname === dev);
    if (link === undefined) return `no interface leads to ${target}`;
    return prefsrc !== undefined && allIpv4Addresses(link).includes(prefsrc)
      ? { link, address: prefsrc }
      : firstAddress(link);
  };
}

async function ofDefaultRoute(links: readonly HostLink[]): Promise<Found | string> {
  const routes = await ipJson<RouteEntry>('-4', 'route', 'show', 'default');
  const devices = routes.flatMap(({ dev, nexthops = [] }) => [dev, ...nexthops.map((hop) => hop.dev)]);
  const link = links.find(({ ifname }) => ifname === devices.find((dev) => dev !== undefined));
  return link === undefined
    ? 'there is no default route to tell the underlay interface: name it with --iface'
    : firstAddress(link);
}

async function ipJson<T>(...args: string[]): Promise<T[]> {
  const output = await runCommand('ip', ['-json', ...args], { debianPackage: 'iproute2' });
  return JSON.parse(output === '' ? '[]' : output) as T[];
}

function toUnderlay({ link, address }: Found): Underlay {
  if (link.mtu === 0)
    throw notFound(`interface ${link.ifname} has MTU 0: ip link set ${link.ifname} mtu 1500`);
  const ipv6Address = globalIpv6Address(link);
  return {
    interface: link.ifname,
    address,
    mtuBytes: link.mtu,
    ...(ipv6Address === undefined ? {} : { ipv6Address }),
  };
}

function describe(links: readonly HostLink[]): string {
  const each = links.flatMap((link) => {
    const addresses = allIpv4Addresses(link);
    return addresses.length === 0 ? [] : [`${link.ifname} ${addresses.join(' ')}`];
  });
  const more = each.length > MOST_LISTED ? `, and ${each.length - MOST_LISTED} more` : '';
  return each.slice(0, MOST_LISTED).join(', ') + more || 'none with an IPv4 address';
}

function notFound(message: string): SelvageError {
  return new SelvageError('ERR_UNDERLAY_NOT_FOUND', message);
}
