import { SelvageError } from '../errors.js';
import { containsIpv4Prefix, formatIpv4, parseIpv4, parseIpv4Prefix } from '../ipv4_prefix.js';
import { SourceCheck } from './lane_context.js';

/** flanneld's default port for its udp backend. */
export const DEFAULT_PORT = 8285;
/** IPv4 (20 bytes) and UDP (8 bytes) before each inner packet. */
export const ENCAPSULATION_BYTES = 28;

/** What {@link createForwarder} takes. */
export interface ForwarderOptions {
  /** Overlay network as an IPv4 prefix, e.g. `10.1.0.0/16`; routed to the device as a whole. */
  readonly network: string;
  /** This host's own part of it, e.g. `10.1.1.0/24`. Its first address becomes the device's, as a /32. */
  readonly subnet: string;
  /** Underlay IPv4 address to bind. It must be an address of this host. */
  readonly address: string;
  /** UDP port to bind, and the peers' port where a route names none. 0 lets the kernel choose. Default 8285. */
  readonly port?: number;
  /** Name of the TUN device, which must not exist; may hold one `%d`. Default `flannel0`. */
  readonly tunName?: string;
  /** Largest inner packet, bytes, 68..65507. Default: MTU of the underlay interface - 28. */
  readonly mtuBytes?: number;
  /** Worker threads, each with a TUN queue and a socket of its own, 1..64. Default 1. */
  readonly lanes?: number;
  /** Whom to accept datagrams from. Default `strict`: the inner source must be routed to the outer source. */
  readonly sourceCheck?: keyof typeof SourceCheck;
  /** Whether to use segmentation and checksum offloads. Off is slow; for finding faults. Default true. */
  readonly offload?: boolean;
  /** Socket buffers asked for, bytes per lane. Default 8 MiB each. */
  readonly receiveBufferBytes?: number;
  readonly sendBufferBytes?: number;
  /** Peers that have counters of their own. Default 131,072; memory is used only for those there are. */
  readonly maxPeers?: number;
}

/** {@link ForwarderOptions} after checking, with every default but the MTU, which needs a look at the underlay. */
export type CheckedOptions = Required<Omit<ForwarderOptions, 'mtuBytes' | 'sourceCheck'>> & {
  readonly mtuBytes: number | undefined;
  readonly sourceCheck: SourceCheck;
  /** Address of the TUN device, dotted quad and int32. */
  readonly tunAddress: string;
  readonly tunAddressInt32: number;
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
  const network = field('network', () => parseIpv4Prefix(options.network));
  const subnet = field('subnet', () => parseIpv4Prefix(options.subnet));
  field('address', () => parseIpv4(options.address));
  if (!containsIpv4Prefix(network, subnet)) {
    throw optionError('subnet', `${options.subnet} does not lie inside network ${options.network}`);
  }
  const sourceCheck = options.sourceCheck ?? 'strict';
  if (!Object.hasOwn(SourceCheck, sourceCheck)) {
    throw optionError('sourceCheck', `"${sourceCheck}" is not one of ${Object.keys(SourceCheck).join(', ')}`);
  }
  return {
    network: options.network,
    subnet: options.subnet,
    address: options.address,
    port: integer('port', options.port ?? DEFAULT_PORT, 0, 65_535),
    tunName: deviceName(options.tunName ?? 'flannel0'),
    mtuBytes:
      options.mtuBytes === undefined
        ? undefined
        : integer('mtuBytes', options.mtuBytes, MIN_MTU_BYTES, MAX_MTU_BYTES),
    lanes: integer('lanes', options.lanes ?? 1, 1, 64),
    sourceCheck: SourceCheck[sourceCheck],
    offload: boolean('offload', options.offload ?? true),
    receiveBufferBytes: integer(
      'receiveBufferBytes',
      options.receiveBufferBytes ?? 8 * MEBIBYTE,
      4096,
      2 ** 30,
    ),
    sendBufferBytes: integer('sendBufferBytes', options.sendBufferBytes ?? 8 * MEBIBYTE, 4096, 2 ** 30),
    maxPeers: integer('maxPeers', options.maxPeers ?? 131_072, 1, 2 ** 22),
    tunAddress: formatIpv4(subnet.address),
    tunAddressInt32: subnet.address,
  };
}

const OPTION_NAMES: readonly string[] = [
  'network',
  'subnet',
  'address',
  'port',
  'tunName',
  'mtuBytes',
  'lanes',
  'sourceCheck',
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
