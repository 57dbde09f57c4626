import { isIP } from 'node:net';

import { messageOf, SelvageError } from '../errors.js';
import { familyOf, type IpFamily } from '../ip_address.js';
import { formatIpv6, parseIpv6 } from '../ipv6_prefix.js';
import {
  allIpv4Addresses,
  allIpv6Addresses,
  type HostLink,
  isLinkLocal,
  usableIpv4Addresses,
  usableIpv6Addresses,
} from './host_link.js';
import { runCommand } from './run_command.js';

/** The interface that carries datagrams between hosts. */
export interface Underlay {
  readonly interface: string;
  /** IPv4 address in dotted quad; absent when it has none. It has one at least. */
  readonly address?: string;
  /** IPv6 address, canonical, not link-local; absent when it has none. */
  readonly ipv6Address?: string;
  /** MTU of the interface, bytes. */
  readonly mtuBytes: number;
}

/**
 * Which interface to take: tried in the order below, as flanneld does; the first that is found is taken. With nothing named it
 * is the one that has the public IP, else the default route's: that of IPv4, and where it has none that of IPv6.
 */
export interface UnderlayChoice {
  /**
   * Family of the datagrams: an interface without an address of it is passed over. Default `auto`: one of either family
   * will do, and IPv4 is looked at first.
   */
  readonly family?: IpFamily | 'auto';
  /** Names or addresses of interfaces. */
  readonly iface?: readonly string[];
  /**
   * Regular expressions, each tried on every address and then on every name; a part may match. They are JavaScript's in
   * Unicode mode and not Go's RE2 as in flanneld: `(?i)`, `(?P<n>`, `\A`, `\z` and `[[:alpha:]]` are refused.
   */
  readonly ifaceRegex?: readonly string[];
  /** An address: the interface that the kernel would send to it from. */
  readonly ifaceCanReach?: string;
  /** The addresses that peers are told. One that no interface has (as behind NAT) does not matter here. */
  readonly publicIp?: string;
  /** Looked for with the family 6, or without `publicIp`. */
  readonly publicIpv6?: string;
}

interface RouteEntry {
  readonly dev?: string;
  readonly prefsrc?: string;
  readonly nexthops?: readonly { readonly dev?: string }[];
}

/** An interface with the address that was found; the one of the other family is chosen later. */
interface Found {
  readonly link: HostLink;
  readonly address: string;
}

/** What a message calls the addresses of the families that will do. */
const ANY = { 4: 'IPv4', 6: 'IPv6', auto: 'IPv4 or IPv6' } as const;

/** Looks for an interface; a text says why there is none. */
type Attempt = (links: readonly HostLink[]) => Promise<Found | string> | Found | string;

/** Interfaces that a message lists; a host with a thousand pods has a thousand. */
const MOST_LISTED = 16;

/**
 * Finds the underlay interface and its addresses of both families. Asked once: a later change needs a new call.
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
  const { family = 'auto', iface = [], ifaceRegex = [], ifaceCanReach, publicIp, publicIpv6 } = choice;
  const named: Attempt[] = [
    ...iface.map((text) => (isIP(text) === 0 ? withName(text, family) : withAddress(text, family))),
    ...ifaceRegex.map((text) => matching(text, family)),
    ...(ifaceCanReach === undefined ? [] : [reaching(ifaceCanReach, family)]),
  ];
  if (named.length > 0) return named;
  const known = family === 6 ? publicIpv6 : family === 4 ? publicIp : (publicIp ?? publicIpv6);
  return [...(known === undefined ? [] : [withAddress(known, family)]), ofDefaultRoutes(family)];
}

function withAddress(text: string, family: IpFamily | 'auto'): Attempt {
  const address = canonical(text);
  if (familyOf(address) === 6 && isLinkLocal(address)) {
    return () => `${address} is link-local, which other hosts cannot send to`;
  }
  return (links) => {
    const link = links.find((candidate) => allAddresses(candidate).includes(address));
    if (link === undefined) return `no interface has the address ${address}`;
    if (family === 'auto' || family === familyOf(address)) return { link, address };
    return firstAddress(link, family);
  };
}

function withName(name: string, family: IpFamily | 'auto'): Attempt {
  return (links) => {
    const link = links.find(({ ifname }) => ifname === name);
    return link === undefined ? `there is no interface ${name}` : firstAddress(link, family);
  };
}

function firstAddress(link: HostLink, family: IpFamily | 'auto'): Found | string {
  const [address] = usableAddresses(link, family);
  if (address !== undefined) return { link, address };
  return `interface ${link.ifname} has no usable ${ANY[family]} address`;
}

/** All addresses before all names, and IPv4 before IPv6: what IPv6 adds comes last and changes nothing for those without. */
function matching(text: string, family: IpFamily | 'auto'): Attempt {
  const pattern = compile(text);
  return (links) => {
    const candidates = familiesOf(family).flatMap((one) =>
      links.flatMap((link) => usableAddresses(link, one).map((address) => ({ link, address }))),
    );
    return (
      candidates.find(({ address }) => pattern.test(address)) ??
      candidates.find(({ link }) => pattern.test(link.ifname)) ??
      `no ${ANY[family]} address and no name of an interface that has one matches ${text}`
    );
  };
}

function familiesOf(family: IpFamily | 'auto'): IpFamily[] {
  return family === 'auto' ? [4, 6] : [family];
}

/** Best first; of both families IPv4 first. */
function usableAddresses(link: HostLink, family: IpFamily | 'auto'): string[] {
  return familiesOf(family).flatMap((one) =>
    one === 4 ? usableIpv4Addresses(link) : usableIpv6Addresses(link),
  );
}

function allAddresses(link: HostLink): string[] {
  return [...allIpv4Addresses(link), ...allIpv6Addresses(link)];
}

/** As `ip` prints it; a zone is left out. */
function canonical(address: string): string {
  return familyOf(address) === 4 ? address : formatIpv6(parseIpv6(address.replace(/%.*/, '')));
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

function reaching(text: string, wanted: IpFamily | 'auto'): Attempt {
  if (isIP(text) === 0) throw new SelvageError('ERR_OPTION', `ifaceCanReach: ${text} is not an IP address`);
  const target = canonical(text);
  const family = familyOf(target);
  return async (links) => {
    const own = await withAddress(target, wanted)(links); // the kernel would say `lo`
    if (typeof own !== 'string') return own;
    let routes: RouteEntry[];
    try {
      routes = await ipJson<RouteEntry>(`-${family}`, 'route', 'get', target);
    } catch (error) {
      return `no way to ${target}: ${messageOf(error)}`;
    }
    const { dev, prefsrc } = routes[0] ?? {};
    const link = links.find(({ ifname }) => ifname === dev);
    if (link === undefined) return `no interface leads to ${target}`;
    const isUsable = prefsrc !== undefined && allAddresses(link).includes(prefsrc);
    return isUsable && wanted !== other(family) ? { link, address: prefsrc } : firstAddress(link, wanted);
  };
}

function other(family: IpFamily): IpFamily {
  return family === 4 ? 6 : 4;
}

function ofDefaultRoutes(wanted: IpFamily | 'auto'): Attempt {
  return async (links) => {
    const reasons: string[] = [];
    for (const family of familiesOf(wanted)) {
      const found = await ofDefaultRoute(links, family);
      if (typeof found !== 'string') return found;
      reasons.push(found);
    }
    // That there is no route is news once; an interface without an address is what an operator can mend.
    return reasons.find((reason) => reason !== NO_DEFAULT_ROUTE) ?? NO_DEFAULT_ROUTE;
  };
}

const NO_DEFAULT_ROUTE = 'there is no default route to tell the underlay interface: name it with --iface';

async function ofDefaultRoute(links: readonly HostLink[], family: IpFamily): Promise<Found | string> {
  const routes = await ipJson<RouteEntry>(`-${family}`, 'route', 'show', 'default');
  const devices = routes.flatMap(({ dev, nexthops = [] }) => [dev, ...nexthops.map((hop) => hop.dev)]);
  const link = links.find(({ ifname }) => ifname === devices.find((dev) => dev !== undefined));
  return link === undefined ? NO_DEFAULT_ROUTE : firstAddress(link, family);
}

async function ipJson<T>(...args: string[]): Promise<T[]> {
  const output = await runCommand('ip', ['-json', ...args], { debianPackage: 'iproute2' });
  return JSON.parse(output === '' ? '[]' : output) as T[];
}

function toUnderlay({ link, address: found }: Found): Underlay {
  if (link.mtu === 0)
    throw notFound(`interface ${link.ifname} has MTU 0: ip link set ${link.ifname} mtu 1500`);
  const [address, ipv6Address] =
    familyOf(found) === 4 ? [found, usableIpv6Addresses(link)[0]] : [usableIpv4Addresses(link)[0], found];
  return {
    interface: link.ifname,
    mtuBytes: link.mtu,
    ...(address === undefined ? {} : { address }),
    ...(ipv6Address === undefined ? {} : { ipv6Address }),
  };
}

function describe(links: readonly HostLink[]): string {
  const each = links.flatMap((link) => {
    const addresses = allAddresses(link);
    return addresses.length === 0 ? [] : [`${link.ifname} ${addresses.join(' ')}`];
  });
  const more = each.length > MOST_LISTED ? `, and ${each.length - MOST_LISTED} more` : '';
  return each.slice(0, MOST_LISTED).join(', ') + more || 'none with an address';
}

function notFound(message: string): SelvageError {
  return new SelvageError('ERR_UNDERLAY_NOT_FOUND', message);
}
