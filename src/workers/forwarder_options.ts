import { IPV6_MIN_MTU_BYTES } from '../encap/ipv6_header.js';
import { OUTER_HEADER_BYTES } from '../encap/outer_headers.js';
import { SelvageError } from '../errors.js';
import { ADDRESS_WORDS, formatAddress, type IpFamily, parseAddress, putIpv6Words } from '../ip_address.js';
import { containsIpv4Prefix, formatIpv4, type Ipv4Prefix, parseIpv4Prefix } from '../ipv4_prefix.js';
import { containsIpv6Prefix, type Ipv6Prefix, parseIpv6Prefix } from '../ipv6_prefix.js';
import { contains, hostPrefix, parsePrefix } from '../prefix.js';
import { SourceCheck } from './lane_context.js';

/** flanneld's default port for its udp backend. */
export const DEFAULT_PORT = 8285;

/** What {@link createForwarder} takes. `network` and `subnet`, `ipv6Network` and `ipv6Subnet`, or all four. */
export interface ForwarderOptions {
  /** Overlay network as an IPv4 prefix, e.g. `10.1.0.0/16`; routed to the device as a whole. */
  readonly network?: string;
  /** This host's own part of it, e.g. `10.1.1.0/24`. Its first address becomes the device's, as a /32. */
  readonly subnet?: string;
  /** The same for IPv6, e.g. `fd00:1::/48`. */
  readonly ipv6Network?: string;
  /** This host's own part of it, e.g. `fd00:1:0:1::/64`. Its first address becomes the device's, as a /128. */
  readonly ipv6Subnet?: string;
  /** Underlay address to bind, IPv4 or IPv6; all next hops are of its family. It must be an address of this host. */
  readonly address: string;
  /** UDP port to bind, and the peers' port where a route names none. 0 lets the kernel choose. Default 8285. */
  readonly port?: number;
  /** Name of the TUN device, which must not exist; may hold one `%d`. Default `flannel0`. */
  readonly tunName?: string;
  /**
   * Largest inner packet, bytes, 68..65507, with IPv6 at least 1280. Default: MTU of the underlay interface - 28, or - 48 over
   * IPv6, and it follows when that changes.
   */
  readonly mtuBytes?: number;
  /** Worker threads, each with a TUN queue and a socket of its own, 1..64. Default 1. */
  readonly lanes?: number;
  /** Whom to accept datagrams from. Default `strict`: the inner source must be routed to the outer source. */
  readonly sourceCheck?: keyof typeof SourceCheck;
  /**
   * Whether the kernel drops datagrams whose sender is no peer before they are queued for a lane. Default true; has no part
   * in `sourceCheck: 'off'`, and where the kernel takes no such program the lanes drop them.
   */
  readonly earlyDrop?: boolean;
  /**
   * Whether DSCP and ECN of inner packets are copied to the datagrams that carry them (RFC 2983, RFC 6040 normal mode). Default
   * true. False where peers do not take congestion marks back in, as flanneld's do not (RFC 6040 section 4.1).
   */
  readonly copyTrafficClass?: boolean;
  /** Between two probes of a path in use for silent loss of large packets, seconds, 0..86,400; 0 is never. Default 60. */
  readonly pathProbeSeconds?: number;
  /** Whether to use segmentation and checksum offloads. Off is slow; for finding faults. Default true. */
  readonly offload?: boolean;
  /** Socket buffers asked for, bytes per lane. Default 8 MiB each. */
  readonly receiveBufferBytes?: number;
  readonly sendBufferBytes?: number;
  /** Peers that have counters and path MTUs of their own. Default 131,072; memory is used only for those there are. */
  readonly maxPeers?: number;
}

/** One family of inner addresses, as a forwarder carries it. */
export interface InnerNetwork {
  /** Canonical text of the overlay network. */
  readonly network: string;
  /** Canonical text of this host's own subnet. */
  readonly subnet: string;
  /** Address of the TUN device: the first of the subnet. */
  readonly tunAddress: string;
}

/** {@link ForwarderOptions} after checking, with every default but the MTU, which needs a look at the underlay. */
export type CheckedOptions = Required<
  Omit<ForwarderOptions, 'mtuBytes' | 'sourceCheck' | 'network' | 'subnet' | 'ipv6Network' | 'ipv6Subnet'>
> & {
  readonly mtuBytes: number | undefined;
  readonly sourceCheck: SourceCheck;
  /** Family of the underlay, and bytes of its headers before an inner packet. */
  readonly underlay: IpFamily;
  readonly overheadBytes: number;
  /** At least one of the two. */
  readonly ipv4: (InnerNetwork & { readonly tunAddressInt32: number }) | undefined;
  readonly ipv6: (InnerNetwork & { readonly tunAddressBytes: Uint8Array }) | undefined;
};

const MEBIBYTE = 1024 * 1024;
/** RFC 791 section 3.2: every network carries 68 bytes. */
export const MIN_MTU_BYTES = 68;
/** What fits in a UDP datagram over IPv4. */
export const MAX_MTU_BYTES = 65_507;

/**
 * Checks options and fills in defaults.
 *
 * @throws SelvageError ERR_OPTION, naming the option
 */
export function checkOptions(options: ForwarderOptions): CheckedOptions {
  refuseUnknown(options);
  const ipv4 = ipv4Of(options);
  const ipv6 = ipv6Of(options);
  if (ipv4 === undefined && ipv6 === undefined) {
    throw optionError('network', 'give network and subnet, ipv6Network and ipv6Subnet, or all four');
  }
  const { family: underlay } = field('address', () => parseAddress(options.address));
  refuseAddressInside(options);
  const sourceCheck = options.sourceCheck ?? 'strict';
  if (!Object.hasOwn(SourceCheck, sourceCheck)) {
    throw optionError('sourceCheck', `"${sourceCheck}" is not one of ${Object.keys(SourceCheck).join(', ')}`);
  }
  return {
    ipv4,
    ipv6,
    address: options.address,
    underlay,
    overheadBytes: OUTER_HEADER_BYTES[underlay],
    port: integer('port', options.port ?? DEFAULT_PORT, 0, 65_535),
    tunName: deviceName(options.tunName ?? 'flannel0'),
    mtuBytes:
      options.mtuBytes === undefined
        ? undefined
        : integer('mtuBytes', options.mtuBytes, leastMtuBytes(ipv6 !== undefined), MAX_MTU_BYTES),
    lanes: integer('lanes', options.lanes ?? 1, 1, 64),
    sourceCheck: SourceCheck[sourceCheck],
    earlyDrop: boolean('earlyDrop', options.earlyDrop ?? true),
    copyTrafficClass: boolean('copyTrafficClass', options.copyTrafficClass ?? true),
    pathProbeSeconds: integer('pathProbeSeconds', options.pathProbeSeconds ?? 60, 0, 86_400),
    offload: boolean('offload', options.offload ?? true),
    receiveBufferBytes: integer(
      'receiveBufferBytes',
      options.receiveBufferBytes ?? 8 * MEBIBYTE,
      4096,
      2 ** 30,
    ),
    sendBufferBytes: integer('sendBufferBytes', options.sendBufferBytes ?? 8 * MEBIBYTE, 4096, 2 ** 30),
    maxPeers: integer('maxPeers', options.maxPeers ?? 131_072, 1, 2 ** 22),
  };
}

/** Smallest overlay MTU: RFC 791 section 3.2, and with IPv6 RFC 8200 section 5. */
export function leastMtuBytes(withIpv6: boolean): number {
  return withIpv6 ? IPV6_MIN_MTU_BYTES : MIN_MTU_BYTES;
}

function ipv4Of({ network, subnet }: ForwarderOptions): CheckedOptions['ipv4'] {
  if (network === undefined && subnet === undefined) return undefined;
  const outer: Ipv4Prefix = field('network', () => parseIpv4Prefix(network ?? ''));
  const inner: Ipv4Prefix = field('subnet', () => parseIpv4Prefix(subnet ?? ''));
  if (!containsIpv4Prefix(outer, inner)) throw notInside('subnet', subnet, 'network', network);
  const tunAddress = formatIpv4(inner.address);
  return { network: network!, subnet: subnet!, tunAddress, tunAddressInt32: inner.address };
}

function ipv6Of({ ipv6Network: network, ipv6Subnet: subnet }: ForwarderOptions): CheckedOptions['ipv6'] {
  if (network === undefined && subnet === undefined) return undefined;
  const outer: Ipv6Prefix = field('ipv6Network', () => parseIpv6Prefix(network ?? ''));
  const inner: Ipv6Prefix = field('ipv6Subnet', () => parseIpv6Prefix(subnet ?? ''));
  if (!containsIpv6Prefix(outer, inner)) throw notInside('ipv6Subnet', subnet, 'ipv6Network', network);
  const words = new Int32Array(ADDRESS_WORDS);
  putIpv6Words(words, 0, inner.address);
  const tunAddressBytes = new Uint8Array(ADDRESS_WORDS * 4);
  const view = new DataView(tunAddressBytes.buffer);
  words.forEach((word, i) => view.setInt32(i * 4, word));
  return { network: network!, subnet: subnet!, tunAddress: formatAddress(6, words), tunAddressBytes };
}

/** Datagrams to peers beside an underlay address inside the overlay would be routed to the TUN device again. */
function refuseAddressInside({ address, network, ipv6Network }: ForwarderOptions): void {
  const overlay = address.includes(':') ? ipv6Network : network;
  if (overlay === undefined) return;
  if (!contains(parsePrefix(overlay), hostPrefix(address))) return;
  throw optionError(
    'address',
    `${address} lies inside the overlay network ${overlay}: its datagrams would loop`,
  );
}

function notInside(
  name: string,
  inner: string | undefined,
  outerName: string,
  outer: string | undefined,
): SelvageError {
  return optionError(name, `${inner} does not lie inside ${outerName} ${outer}`);
}

const OPTION_NAMES: readonly string[] = [
  'network',
  'subnet',
  'ipv6Network',
  'ipv6Subnet',
  'address',
  'port',
  'tunName',
  'mtuBytes',
  'lanes',
  'sourceCheck',
  'earlyDrop',
  'copyTrafficClass',
  'pathProbeSeconds',
  'offload',
  'receiveBufferBytes',
  'sendBufferBytes',
  'maxPeers',
] satisfies (keyof ForwarderOptions)[];

/** A misspelt option would otherwise be a default that nobody chose. */
function refuseUnknown(options: object): void {
  if (typeof options !== 'object' || options === null) throw optionError('options', 'an object is required');
  const unknown = Object.keys(options).find((name) => !OPTION_NAMES.includes(name));
  if (unknown !== undefined) {
    throw optionError(unknown, `there is no such option; there are ${OPTION_NAMES.join(', ')}`);
  }
}

function boolean(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw optionError(name, `${JSON.stringify(value)} is not true or false`);
}

function integer(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw optionError(name, `${String(value)} is not a whole number from ${least} to ${most}`);
}

/** Linux net/core/dev.c dev_valid_name: 1 to 15 bytes, no slash, colon or white space, not "." or "..". */
function deviceName(name: string): string {
  const conversions = name.split('%').length - 1;
  const sound = /^[^\s/:]{1,15}$/.test(name) && name !== '.' && name !== '..';
  if (sound && (conversions === 0 || (conversions === 1 && name.includes('%d')))) return name;
  throw optionError('tunName', `"${name}" is not a device name of 1 to 15 characters`);
}

function field<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw optionError(name, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function optionError(name: string, what: string, cause?: unknown): SelvageError {
  return new SelvageError('ERR_OPTION', `${name}: ${what}`, { cause });
}
