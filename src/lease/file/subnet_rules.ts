import {
  containsIpv4Prefix,
  formatIpv4Prefix,
  overlapsIpv4Prefix,
  parseIpv4Prefix,
  type Ipv4Prefix,
} from '../../ipv4_prefix.js';

/** A subnet and the place in the file that names it. */
interface Claim {
  readonly where: string;
  readonly prefix: Ipv4Prefix;
}

/**
 * The rules between the subnets of a routes file: each lies inside the network, and no two overlap.
 *
 * Takes the raw value and skips what is missing or malformed, so that one run names the faults of both kinds.
 *
 * @returns one sentence per violation, in the order of the file
 */
export function findSubnetProblems(file: unknown): string[] {
  if (!isObject(file)) return [];
  const network = readPrefix(file['network']);
  const own = readClaim('subnet', file['subnet']);
  const peers = readPeers(file['peers']);
  const problems: string[] = [];
  if (network !== undefined) problems.push(...outside(network, own === undefined ? peers : [own, ...peers]));
  if (own !== undefined) problems.push(...overlappingOwn(own, peers));
  problems.push(...overlappingEachOther(peers));
  return problems;
}

function outside(network: Ipv4Prefix, claims: readonly Claim[]): string[] {
  return claims
    .filter(({ prefix }) => !containsIpv4Prefix(network, prefix))
    .map(
      ({ where, prefix }) =>
        `${where}: ${formatIpv4Prefix(prefix)} is not inside network ${formatIpv4Prefix(network)}`,
    );
}

function overlappingOwn(own: Claim, peers: readonly Claim[]): string[] {
  return peers
    .filter(({ prefix }) => overlapsIpv4Prefix(own.prefix, prefix))
    .map(({ where, prefix }) => {
      if (prefix.bits === own.prefix.bits)
        return `${where}: ${formatIpv4Prefix(prefix)} is this host's own subnet`;
      return `${where}: ${formatIpv4Prefix(prefix)} overlaps this host's own subnet ${formatIpv4Prefix(own.prefix)}`;
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
      return (left.address >>> 0) - (right.address >>> 0) || left.bits - right.bits || a - b;
    });
  const found: { at: number; problem: string }[] = [];
  let outer: number | undefined;
  for (const index of order) {
    if (outer !== undefined && containsIpv4Prefix(peers[outer]!.prefix, peers[index]!.prefix)) {
      const [first, second] = outer < index ? [outer, index] : [index, outer];
      found.push({ at: second, problem: overlapText(peers[first]!, peers[second]!) });
    } else {
      outer = index;
    }
  }
  return found.sort((a, b) => a.at - b.at).map(({ problem }) => problem);
}

function overlapText(first: Claim, second: Claim): string {
  const [a, b] = [formatIpv4Prefix(first.prefix), formatIpv4Prefix(second.prefix)];
  if (a === b) return `${second.where}: ${b} is also ${first.where}`;
  return `${second.where}: ${b} overlaps ${first.where} ${a}`;
}

function readPeers(value: unknown): Claim[] {
  if (!Array.isArray(value)) return [];
  const claims: Claim[] = [];
  value.forEach((peer: unknown, index) => {
    const claim = isObject(peer) ? readClaim(`peers[${index}].subnet`, peer['subnet']) : undefined;
    if (claim !== undefined) claims.push(claim);
  });
  return claims;
}

function readClaim(where: string, value: unknown): Claim | undefined {
  const prefix = readPrefix(value);
  return prefix === undefined ? undefined : { where, prefix };
}

function readPrefix(value: unknown): Ipv4Prefix | undefined {
  if (typeof value !== 'string') return undefined;
  try {
    return parseIpv4Prefix(value);
  } catch {
    return undefined; // reported as a problem of the field
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
