import { readFile } from 'node:fs/promises';

import { messageOf, SelvageError } from '../errors.js';
import { formatIpv6, formatIpv6Prefix, maskIpv6Prefix, parseIpv6Prefix } from '../ipv6_prefix.js';
import { formatIpv4, formatIpv4Prefix, parseIpv4, parseIpv4Prefix } from '../ipv4_prefix.js';
import { writeFileAtomically } from '../atomic_file.js';

/**
 * What flanneld's `/run/flannel/subnet.env` says; the CNI plugin and `mk-docker-opts.sh` read it. Prefixes are canonical
 * texts without host bits, e.g. `10.5.52.0/24` although the file holds `10.5.52.1/24`, the bridge's address.
 */
export interface SubnetFile {
  readonly network?: string;
  readonly subnet?: string;
  readonly ipv6Network?: string;
  readonly ipv6Subnet?: string;
  readonly mtuBytes?: number;
  /** Whether the daemon masquerades, so that the CNI plugin and docker need not. */
  readonly ipMasq?: boolean;
}

/** A family's `network` and its `subnet` go together. */
export type CompleteSubnetFile = SubnetFile & Required<Pick<SubnetFile, 'mtuBytes' | 'ipMasq'>>;

const MODE = 0o644;
const MTU_BYTES = /^[1-9][0-9]{0,9}$/;
const TRUTHS = new Map([
  ['true', true],
  ['false', false],
]);
const PREFIX_LENGTH = /^[0-9]{1,2}$/;

/**
 * Writes the file as flanneld does: same lines, same order, atomically, 0644, its directory made 0755.
 *
 * @throws SelvageError ERR_SUBNET_FILE; ERR_PREFIX_INVALID for a prefix that is not canonical
 */
export async function writeSubnetFile(path: string, content: CompleteSubnetFile): Promise<void> {
  const text = formatSubnetFile(content);
  try {
    await writeFileAtomically(path, text, MODE);
  } catch (cause) {
    throw subnetFileError(path, 'written', cause);
  }
}

/**
 * Reads what the file said, mostly at the last start. A line that is malformed, or that holds several values, counts as absent.
 *
 * @returns an empty object when there is no file
 * @throws SelvageError ERR_SUBNET_FILE when there is one that cannot be read
 */
export async function readSubnetFile(path: string): Promise<SubnetFile> {
  try {
    return parseSubnetFile(await readFile(path, 'utf8'));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw subnetFileError(path, 'read', cause);
  }
}

function formatSubnetFile(content: CompleteSubnetFile): string {
  const { network, subnet, ipv6Network, ipv6Subnet, mtuBytes, ipMasq } = content;
  const lines: [string, string | undefined][] = [
    ['FLANNEL_NETWORK', network],
    ['FLANNEL_SUBNET', subnet && bridgeAddress(subnet)],
    ['FLANNEL_IPV6_NETWORK', ipv6Network],
    ['FLANNEL_IPV6_SUBNET', ipv6Subnet && ipv6BridgeAddress(ipv6Subnet)],
    ['FLANNEL_MTU', String(mtuBytes)],
    ['FLANNEL_IPMASQ', String(ipMasq)],
  ];
  return lines.map(([key, value]) => (value === undefined ? '' : `${key}=${value}\n`)).join('');
}

/** The first address after the subnet's own, with the subnet's length: `10.5.52.0/24` gives `10.5.52.1/24`. */
function bridgeAddress(subnet: string): string {
  const { address, bits } = parseIpv4Prefix(subnet);
  return `${formatIpv4((address + 1) | 0)}/${bits}`;
}

function ipv6BridgeAddress(subnet: string): string {
  const { address, bits } = parseIpv6Prefix(subnet);
  return `${formatIpv6(address + 1n)}/${bits}`;
}

function parseSubnetFile(text: string): SubnetFile {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=');
    if (equals > 0) values.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim());
  }
  const read = <T>(key: string, parse: (value: string) => T | undefined): T | undefined => {
    const value = values.get(key);
    return value === undefined ? undefined : parse(value);
  };
  return defined({
    network: read('FLANNEL_NETWORK', maskedPrefix),
    subnet: read('FLANNEL_SUBNET', maskedPrefix),
    ipv6Network: read('FLANNEL_IPV6_NETWORK', maskedIpv6Prefix),
    ipv6Subnet: read('FLANNEL_IPV6_SUBNET', maskedIpv6Prefix),
    mtuBytes: read('FLANNEL_MTU', (value) => (MTU_BYTES.test(value) ? Number(value) : undefined)),
    ipMasq: read('FLANNEL_IPMASQ', (value) => TRUTHS.get(value)),
  });
}

type Undefinable<T> = { [K in keyof T]: T[K] | undefined };

function defined(file: Undefinable<Required<SubnetFile>>): SubnetFile {
  return Object.fromEntries(Object.entries(file).filter(([, value]) => value !== undefined));
}

/** `10.5.52.1/24` gives `10.5.52.0/24`. */
function maskedPrefix(text: string): string | undefined {
  const [quad = '', length = ''] = text.split('/');
  const bits = PREFIX_LENGTH.test(length) ? Number(length) : 33;
  if (bits > 32 || text !== `${quad}/${length}`) return undefined;
  return orUndefined(() => {
    const addresses = 2 ** (32 - bits);
    const first = Math.floor((parseIpv4(quad) >>> 0) / addresses) * addresses;
    return formatIpv4Prefix({ family: 4, address: first | 0, bits });
  });
}

function maskedIpv6Prefix(text: string): string | undefined {
  return orUndefined(() => formatIpv6Prefix(maskIpv6Prefix(text)));
}

function orUndefined(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined; // the file is a hint: a lease that is wanted back is checked against the network anyway
  }
}

function subnetFileError(path: string, done: string, cause: unknown): SelvageError {
  return new SelvageError(
    'ERR_SUBNET_FILE',
    `${path} cannot be ${done}: ${messageOf(cause)}; name another with --subnet-file`,
    { cause },
  );
}
