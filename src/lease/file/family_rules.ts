import { familyOf, type IpFamily } from '../../ip_address.js';
import { isObject, type JsonObject, KEYS, peersOf } from './routes_file_keys.js';

/**
 * What a routes file lacks: the network and this host's subnet go together, of one family at least, and each peer has a
 * subnet of a family that the file has.
 *
 * @param file as parsed from JSON; what is malformed beside is not looked at
 * @returns one sentence per violation
 */
export function findMissing(file: unknown): string[] {
  if (!isObject(file)) return [];
  const families = familiesOf(file);
  return [
    ...families.flatMap((family) => missingOfHost(file, family)),
    ...peersOf(file).flatMap(({ where, peer }) => problemsOfPeer(where, peer, families)),
  ];
}

/** The families that a file is about: those of which it has anything, else IPv4. */
function familiesOf(file: JsonObject): IpFamily[] {
  const named = ([4, 6] as const).filter(
    (family) => KEYS[family].network in file || KEYS[family].subnet in file,
  );
  return named.length === 0 ? [4] : named;
}

function missingOfHost(file: JsonObject, family: IpFamily): string[] {
  const { network, subnet, networkLike, subnetLike } = KEYS[family];
  return [
    ...(network in file ? [] : [`${network} is missing: expected ${networkLike}`]),
    ...(subnet in file ? [] : [`${subnet} is missing: expected ${subnetLike}`]),
  ];
}

function problemsOfPeer(where: string, peer: JsonObject, families: readonly IpFamily[]): string[] {
  const named = ([4, 6] as const).filter((family) => KEYS[family].subnet in peer);
  if (named.length === 0) {
    const { subnet, subnetLike } = KEYS[families[0]!];
    return [`${where}.${subnet} is missing: expected ${subnetLike}`];
  }
  return named
    .filter((family) => !families.includes(family))
    .map((family) => `${where}.${KEYS[family].subnet}: the file has no ${KEYS[family].network}`);
}

/**
 * The family of the datagrams: the one asked for, else that of the peers' addresses, else IPv4 unless the file has none.
 *
 * @param file as {@link findMissing}
 */
export function underlayOf(file: unknown, asked: IpFamily | 'auto'): IpFamily {
  if (asked !== 'auto') return asked;
  if (!isObject(file)) return 4;
  for (const { peer } of peersOf(file)) {
    if (typeof peer['publicIp'] === 'string') return familyOf(peer['publicIp']);
  }
  return familiesOf(file)[0]!;
}

/** Peers whose address is of another family than the underlay. @param asked as {@link underlayOf} */
export function findOtherFamily(file: unknown, asked: IpFamily | 'auto'): string[] {
  if (!isObject(file)) return [];
  const underlay = underlayOf(file, asked);
  const reason = asked === 'auto' ? 'that of the first peer is' : 'the underlay is';
  return peersOf(file).flatMap(({ where, peer: { publicIp } }) =>
    typeof publicIp !== 'string' || familyOf(publicIp) === underlay
      ? []
      : [
          `${where}.publicIp: ${JSON.stringify(publicIp.slice(0, 60))} is not IPv${underlay}, which ${reason}`,
        ],
  );
}
