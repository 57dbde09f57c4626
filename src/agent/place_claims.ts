import { SelvageError } from '../errors.js';
import { overlaps, parsePrefix, type Prefix } from '../prefix.js';

/** Where a segment forwards: what its source says, and where its sockets are. */
export interface Place {
  /** Overlay networks, one for each family. */
  readonly networks: readonly string[];
  /** Underlay address that the sockets are bound to. */
  readonly address: string;
  /** UDP port there. */
  readonly port: number;
}

interface Claim extends Place {
  readonly prefixes: readonly Prefix[];
}

/**
 * Which segment has which overlay networks and which UDP port: found out when a segment has joined, and before it makes a
 * device. Two segments with one network would take each other's routes; two sockets with one port would share the datagrams,
 * as several lanes of one segment do by intent (SO_REUSEPORT). Main thread.
 */
export class PlaceClaims {
  readonly #claims = new Map<string, Claim>();

  /**
   * Claims a place for a segment, in place of the one it had.
   *
   * @throws SelvageError ERR_SEGMENT_OVERLAP when another one has it; the segment has no place then
   */
  claim(segment: string, place: Place): void {
    this.#claims.delete(segment);
    const claim = { ...place, prefixes: place.networks.map(parsePrefix) };
    for (const [other, theirs] of this.#claims) refuseShared(claim, other, theirs);
    this.#claims.set(segment, claim);
  }

  release(segment: string): void {
    this.#claims.delete(segment);
  }
}

function refuseShared(ours: Claim, other: string, theirs: Claim): void {
  for (const [i, prefix] of ours.prefixes.entries()) {
    const at = theirs.prefixes.findIndex((each) => overlaps(prefix, each));
    if (at < 0) continue;
    throw new SelvageError(
      'ERR_SEGMENT_OVERLAP',
      `the network ${ours.networks[i]} overlaps ${theirs.networks[at]} of segment "${other}": ` +
        'the host could not tell their pods apart; change the Network of one of the two configs',
    );
  }
  if (ours.port !== theirs.port || ours.address !== theirs.address) return;
  throw new SelvageError(
    'ERR_SEGMENT_OVERLAP',
    `UDP port ${ours.port} on ${ours.address} is that of segment "${other}": ` +
      'give one of the two networks another Backend.Port in its config ("port" with a routes file), or another "iface"',
  );
}
