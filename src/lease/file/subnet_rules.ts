import type { IpFamily } from '../../ip_address.js';
import { contains, formatPrefix, hostPrefix, overlaps, parsePrefix, type Prefix } from '../../prefix.js';
import { isObject, type JsonObject, KEYS, peersOf } from './routes_file_keys.js';

/** A subnet and the place in the file that names it. */
interface Claim {
  readonly where: string;
  readonly prefix: Prefix;
}

/**
 * The rules between the prefixes and addresses of one family in a routes file: each subnet lies inside the network, no public IP
 * does (its datagrams would come back to us as frames), and no two subnets overlap.
 *
 * Takes the raw value and skips what is missing or malformed, so that one run names the faults of both kinds.
 *
 * @returns one sentence per violation, in the order of the file
 */
export function findSubnetProblems(file: unknown, family: IpFamily): string[] {
  if (!isObject(file)) return [];
  const { network: networkKey, subnet: subnetKey } = KEYS[family];
  const network = readPrefix(file[networkKey], family);
  const own = readClaim(subnetKey, file[subnetKey], family);
  const peers = peersOf(file).flatMap(
    ({ where, peer }) => readClaim(`${where}.${subnetKey}`, peer[subnetKey], family) ?? [],
  );
  const problems: string[] = [];
  if (network !== undefined) {
    const claims = own === undefined ? peers : [own, ...peers];
    problems.push(...outside(networkKey, network, claims), ...inside(networkKey, network, file));
  }
  if (own !== undefined) problems.push(...overlappingOwn(own, peers));
  problems.push(...overlappingEachOther(peers));
  return problems;
}

function outside(networkKey: string, network: Prefix, claims: readonly Claim[]): string[] {
  return claims
    .filter(({ prefix }) => !contains(network, prefix))
    .map(
      ({ where, prefix }) =>
        `${where}: ${formatPrefix(prefix)} is not inside ${networkKey} ${formatPrefix(network)}`,
    );
}

function inside(networkKey: string, network: Prefix, file: JsonObject): string[] {
  return peersOf(file).flatMap(({ where, peer: { publicIp } }) => {
    const host = readAddress(publicIp);
    if (host === undefined || !contains(network, host)) return [];
    const around = `${networkKey} ${formatPrefix(network)}`;
    return [`${where}.publicIp: ${String(publicIp)} lies inside ${around}: its datagrams would loop`];
  });
}

function overlappingOwn(own: Claim, peers: readonly Claim[]): string[] {
  return peers
    .filter(({ prefix }) => overlaps(own.prefix, prefix))
    .map(({ where, prefix }) => {
      if (prefix.bits === own.prefix.bits)
        return `${where}: ${formatPrefix(prefix)} is this host's own subnet`;
      return `${where}: ${formatPrefix(prefix)} overlaps this host's own subnet ${formatPrefix(own.prefix)}`;
    });
}

/**
 * In order of first address, wider before narrower, a prefix that overlaps an earlier one lies inside it, and the last
 * one that nothing contained is the only one that can. So one pass after sorting finds them all, for 65,536 peers too.
 */
function overlappingEachOther(peers: readonly Claim[]): string[] {
  const order = peers
    .map((_, index) => index)
    .sort((a, b) => {
      const [left, right] = [peers[a]!.prefix, peers[b]!.prefix];
      return compare(firstOf(left), firstOf(right)) || left.bits - right.bits || a - b;
    });
  const found: { at: number; problem: string }[] = [];
  let outer: number | undefined;
  for (const index of order) {
    if (outer !== undefined && contains(peers[outer]!.prefix, peers[index]!.prefix)) {
      const [first, second] = outer < index ? [outer, index] : [index, outer];
      found.push({ at: second, problem: overlapText(peers[first]!, peers[second]!) });
    } else {
      outer = index;
    }
  }
  return found.sort((a, b) => a.at - b.at).map(({ problem }) => problem);
}

function overlapText(first: Claim, second: Claim): string {
  const [a, b] = [formatPrefix(first.prefix), formatPrefix(second.prefix)];
  if (a === b) return `${second.where}: ${b} is also ${first.where}`;
  return `${second.where}: ${b} overlaps ${first.where} ${a}`;
}

/** Its first address as an unsigned number. */
function firstOf(prefix: Prefix): number | bigint {
  return prefix.family === 4 ? prefix.address >>> 0 : prefix.address;
}

function compare(a: number | bigint, b: number | bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function readClaim(where: string, value: unknown, family: IpFamily): Claim | undefined {
  const prefix = readPrefix(value, family);
  return prefix === undefined ? undefined : { where, prefix };
}

function readPrefix(value: unknown, family: IpFamily): Prefix | undefined {
  if (typeof value !== 'string') return undefined;
  try {
    const prefix = parsePrefix(value);
    return prefix.family === family ? prefix : undefined;
  } catch {
    return undefined; // reported as a problem of the field
  }
}

function readAddress(value: unknown): Prefix | undefined {
  if (typeof value !== 'string') return undefined;
  try {
    return hostPrefix(value);
  } catch {
    return undefined; // as above
  }
}
