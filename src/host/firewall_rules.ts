import { parseIpv6Prefix, formatIpv6 } from '../ipv6_prefix.js';
import { formatIpv4, parseIpv4Prefix } from '../ipv4_prefix.js';

/** One overlay network of one family and this host's own subnet in it, as canonical prefixes: IPv4 or IPv6. */
export interface FirewallNetwork {
  readonly network: string;
  readonly subnet: string;
  /** UDP port of the datagrams that carry it. */
  readonly port: number;
}

/** Which rules to have. */
export interface FirewallRules {
  readonly networks: readonly FirewallNetwork[];
  /** Masquerade what leaves the overlay, and what enters it from outside. */
  readonly masquerade: boolean;
  /** Choose source ports at random, so that two connections rarely ask for the same (Linux 3.13). */
  readonly fullyRandom: boolean;
  /** Accept what is forwarded from and to the overlay. */
  readonly forward: boolean;
}

/** A name in the `inet` family of nftables. */
export interface FirewallTable {
  readonly family: 'inet';
  readonly name: string;
}

/** What `nft -j` takes and tells (libnftables-json(5)). */
export type NftObject = Readonly<Record<string, unknown>>;

const TABLE_PREFIX = 'selvage-';
/** kube-proxy marks what it will masquerade itself (its `--iptables-masquerade-bit`, 14). */
const KUBE_PROXY_MARK = 0x4000;
/** NF_IP_PRI_NAT_SRC and NF_IP_PRI_FILTER, include/uapi/linux/netfilter_ipv4.h. */
const PRIORITY_SRCNAT = 100;
const PRIORITY_FILTER = 0;

const POSTROUTING_CHAIN = 'postrtg';
const FORWARD_CHAIN = 'forward';

/** The table that belongs to a TUN device. */
export function tableOf(tunName: string): FirewallTable {
  return { family: 'inet', name: `${TABLE_PREFIX}${tunName}` };
}

/** The TUN device that a table belongs to; undefined for a table of somebody else. */
export function tunOf({ family, name }: { family: string; name: string }): string | undefined {
  return family === 'inet' && name.startsWith(TABLE_PREFIX) ? name.slice(TABLE_PREFIX.length) : undefined;
}

/** Commands that remove the table, there or not. */
export function removalOf(table: FirewallTable): NftObject[] {
  return [{ add: { table } }, { delete: { table } }];
}

/**
 * Commands that replace the table as a whole; in one transaction, so that no packet meets half of it.
 *
 * @throws SelvageError ERR_PREFIX_INVALID
 */
export function replacementOf(table: FirewallTable, rules: FirewallRules): NftObject[] {
  const commands = [...removalOf(table), { add: { table } }];
  const chain = (name: string, type: string, hook: string, prio: number, contents: NftObject[][]): void => {
    const place = { family: table.family, table: table.name };
    commands.push({ add: { chain: { ...place, name, type, hook, prio, policy: 'accept' } } });
    for (const expr of contents) commands.push({ add: { rule: { ...place, chain: name, expr } } });
  };
  if (rules.masquerade) {
    chain(POSTROUTING_CHAIN, 'nat', 'postrouting', PRIORITY_SRCNAT, masqueradeRules(rules));
  }
  if (rules.forward) {
    const contents = rules.networks.flatMap(({ network }) => acceptRules(network));
    chain(FORWARD_CHAIN, 'filter', 'forward', PRIORITY_FILTER, contents);
  }
  return commands;
}

/** What lets a network's frames through a chain on the forward hook: one rule for each direction. */
export function acceptRules(network: string): NftObject[][] {
  const accept = { accept: null };
  return [
    [match('saddr', '==', network), accept],
    [match('daddr', '==', network), accept],
  ];
}

/**
 * flanneld's rules as its iptables mode has them; its nftables mode compares the whole mark and has "source not L" in the
 * fourth rule, so that its last one never matches. Beside them, what goes to the port of another host keeps its source: as its own
 * host's, a pod could put frames of any other pod there into the overlay.
 */
function masqueradeRules({ networks, fullyRandom }: FirewallRules): NftObject[][] {
  const masquerade = { masquerade: fullyRandom ? { flags: 'fully-random' } : null };
  const leave = { return: null };
  return [
    [markedByKubeProxy(), leave],
    ...networks.flatMap(({ network, subnet, port }) => [
      [match('saddr', '==', subnet), match('daddr', '==', network), leave],
      [match('saddr', '==', network), match('daddr', '==', subnet), leave],
      // A client's address is kept on its way to a local pod.
      [match('saddr', '!=', network), match('daddr', '==', subnet), leave],
      [match('saddr', '==', network), toPort(port), leave],
      [match('saddr', '==', network), match('daddr', '!=', multicastOf(network)), masquerade],
      // From the host itself to a remote pod: the peer knows no way back but through the overlay.
      [match('saddr', '!=', network), match('daddr', '==', network), masquerade],
    ]),
  ];
}

function markedByKubeProxy(): NftObject {
  const left = { '&': [{ meta: { key: 'mark' } }, KUBE_PROXY_MARK] };
  return { match: { op: '==', left, right: KUBE_PROXY_MARK } };
}

function toPort(port: number): NftObject {
  return { match: { op: '==', left: { payload: { protocol: 'udp', field: 'dport' } }, right: port } };
}

function match(field: 'saddr' | 'daddr', op: '==' | '!=', prefix: string): NftObject {
  const protocol = isIpv6(prefix) ? 'ip6' : 'ip';
  return { match: { op, left: { payload: { protocol, field } }, right: { prefix: toNft(prefix) } } };
}

function toNft(prefix: string): { addr: string; len: number } {
  if (isIpv6(prefix)) {
    const { address, bits } = parseIpv6Prefix(prefix);
    return { addr: formatIpv6(address), len: bits };
  }
  const { address, bits } = parseIpv4Prefix(prefix);
  return { addr: formatIpv4(address), len: bits };
}

/** RFC 5771, RFC 4291 section 2.7. */
function multicastOf(network: string): string {
  return isIpv6(network) ? 'ff00::/8' : '224.0.0.0/4';
}

/** Whether the text can only be an IPv6 prefix; what is neither fails where it is parsed. */
export function isIpv6(prefix: string): boolean {
  return prefix.includes(':');
}
