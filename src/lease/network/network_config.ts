import { invariant, messageOf, SelvageError } from '../../errors.js';
import type { IpFamily } from '../../ip_address.js';
import { type Ipv6Prefix, maskIpv6Prefix, parseIpv6 } from '../../ipv6_prefix.js';
import { type Ipv4Prefix, parseIpv4 } from '../../ipv4_prefix.js';
import type { Prefix } from '../../prefix.js';
import { readBackend } from './backend_config.js';
import { describeJson, readGoObject } from './go_json.js';
import { makePool, type PoolFields } from './pool_rules.js';
import type { SubnetPool } from './subnet_pool.js';

/** One family's part of a network. */
export interface FamilyConfig<P extends Prefix> {
  /** The whole overlay network. */
  readonly network: P;
  /** The subnets that hosts are given: SubnetMin to SubnetMax, of SubnetLen. */
  readonly pool: SubnetPool;
}

/** What a network's `config` key says, with every default filled in. */
export interface NetworkConfig {
  /** Undefined where EnableIPv4 is false; then there is IPv6. */
  readonly ipv4: FamilyConfig<Ipv4Prefix> | undefined;
  /** Undefined unless EnableIPv6. */
  readonly ipv6: FamilyConfig<Ipv6Prefix> | undefined;
  /** EnableNFTables: flanneld keeps its rules with nftables instead of iptables. */
  readonly enableNftables: boolean;
  /** UDP port of every host: Backend.Port, 1..65535. */
  readonly port: number;
}

const FIELDS = [
  'EnableIPv4',
  'EnableIPv6',
  'EnableNFTables',
  'Network',
  'SubnetLen',
  'SubnetMin',
  'SubnetMax',
  'IPv6Network',
  'IPv6SubnetLen',
  'IPv6SubnetMin',
  'IPv6SubnetMax',
  'Backend',
] as const;

type Field = (typeof FIELDS)[number];
type Fields = Partial<Record<Field, unknown>>;

/**
 * Reads a flannel network config: the fields, defaults and rules of flannel 0.28 (`ParseConfig`, `CheckNetworkConfig`).
 *
 * @throws SelvageError ERR_NETWORK_CONFIG when it is malformed or breaks a rule: flanneld's own text where it has one, then
 *   the field; ERR_BACKEND_TYPE when it is sound and describes a network that selvage cannot join
 */
export function parseNetworkConfig(text: string): NetworkConfig {
  try {
    return readConfig(readGoObject(text, FIELDS));
  } catch (error) {
    if (error instanceof SelvageError) throw error;
    throw new SelvageError('ERR_NETWORK_CONFIG', messageOf(error), { cause: error });
  }
}

/** All fields are decoded before any is judged, as flanneld does: a malformed one counts even where it is not used. */
function readConfig(fields: Fields): NetworkConfig {
  const enableIpv4 = readFlag(fields, 'EnableIPv4', true);
  const enableIpv6 = readFlag(fields, 'EnableIPv6', false);
  const enableNftables = readFlag(fields, 'EnableNFTables', false);
  const ipv4 = {
    network: readText(fields, 'Network', readIpv4Cidr),
    subnetLength: readLength(fields, 'SubnetLen'),
    subnetMin: readText(fields, 'SubnetMin', readIpv4),
    subnetMax: readText(fields, 'SubnetMax', readIpv4),
  };
  const ipv6 = {
    network: readText(fields, 'IPv6Network', readIpv6Cidr),
    subnetLength: readLength(fields, 'IPv6SubnetLen'),
    subnetMin: readText(fields, 'IPv6SubnetMin', readIpv6),
    subnetMax: readText(fields, 'IPv6SubnetMax', readIpv6),
  };
  if (!enableIpv4 && !enableIpv6) {
    throw new Error('none defined stack: EnableIPv4 and EnableIPv6 are both false; set one of them to true');
  }
  return {
    ipv4: enableIpv4 ? familyConfig(4, ipv4) : undefined,
    ipv6: enableIpv6 ? familyConfig(6, ipv6) : undefined,
    enableNftables,
    port: readBackend(fields.Backend).port,
  };
}

/** A family's fields as they stand in the text. */
interface FamilyFields<P extends Prefix> extends Omit<PoolFields, 'network'> {
  readonly network: P | undefined;
}

function familyConfig<P extends Prefix>(family: IpFamily, fields: FamilyFields<P>): FamilyConfig<P> {
  const { network } = fields;
  const pool = makePool(family, {
    ...fields,
    network: network && { address: firstOf(network), bits: network.bits },
  });
  invariant(network !== undefined, 'makePool refuses an absent network');
  return { network, pool };
}

function readFlag(fields: Fields, field: Field, usual: boolean): boolean {
  const value = fields[field] ?? usual;
  if (typeof value !== 'boolean') {
    throw new Error(`${field} is ${describeJson(value)}; write true or false, without quotes`);
  }
  return value;
}

function readLength(fields: Fields, field: Field): number | undefined {
  const value = fields[field];
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw new Error(`${field} is ${describeJson(value)}; write a whole number like 24, without quotes`);
  }
  return value;
}

/** An address or prefix; `read` throws flannel's text, to which the field is added. */
function readText<T>(fields: Fields, field: Field, read: (text: string) => T): T | undefined {
  const value = fields[field];
  if (value === undefined) return undefined;
  try {
    return read(typeof value === 'string' ? value : '');
  } catch (error) {
    throw new Error(`${messageOf(error)}: ${field} is ${describeJson(value)}`, { cause: error });
  }
}

function readIpv4(text: string): bigint {
  const address = attempt(() => parseIpv4(text));
  if (address !== undefined) return unsigned(address);
  throw new Error(isIpv6(text) ? 'invalid IPv4 address format' : 'invalid IP address format');
}

function readIpv6(text: string): bigint {
  const address = attempt(() => parseIpv6(text));
  if (address === undefined) throw new Error('invalid IP address format');
  return address;
}

/** As Go's `net.ParseCIDR`: bits behind the length are cleared. */
function readIpv4Cidr(text: string): Ipv4Prefix {
  const [quad = '', length = ''] = text.split('/', 2);
  const address = attempt(() => parseIpv4(quad));
  const bits = Number(length);
  if (address === undefined || !/^[0-9]+$/.test(length) || bits > 32 || text !== `${quad}/${length}`) {
    throw new Error(isIpv6(quad) ? 'invalid IPv4 CIDR format' : 'invalid CIDR address');
  }
  // A shift by 32 would be one by 0.
  return { family: 4, address: bits === 0 ? 0 : address & (-1 << (32 - bits)), bits };
}

function readIpv6Cidr(text: string): Ipv6Prefix {
  const prefix = attempt(() => maskIpv6Prefix(text));
  if (prefix === undefined) throw new Error('invalid CIDR address');
  return prefix;
}

function isIpv6(text: string): boolean {
  return attempt(() => parseIpv6(text)) !== undefined;
}

/** undefined in place of an error; what is wrong is said in flannel's words instead. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function firstOf(prefix: Prefix): bigint {
  return prefix.family === 4 ? unsigned(prefix.address) : prefix.address;
}

function unsigned(address: number): bigint {
  return BigInt(address >>> 0);
}
