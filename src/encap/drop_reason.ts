/**
 * Why a frame ended here: the one list of reasons. Each lost frame is counted under exactly one of them.
 */

import { constants } from 'node:os';

/** Which way a frame was going: `outbound` is TUN -> UDP, `inbound` is UDP -> TUN. */
export type Direction = 'outbound' | 'inbound';

/**
 * The number of each reason. A fate of `-reason` ends a frame; numbers are stable, new reasons go to the end.
 *
 * The sentence over each number is repeated in {@link DROP_REASONS}, and a test holds the two together.
 */
export const DropReason = {
  /** No route covers the destination; the sender was told "net unreachable" (IPv6: "no route"). */
  noRoute: 1,
  /** The frame is shorter than an IP header, or than its own total length. */
  truncated: 2,
  /** The version field is neither 4 nor 6. */
  badVersion: 3,
  /** An IPv6 frame, and the network has no IPv6. */
  ipv6NotCarried: 4,
  /** The header length is below 20 bytes or beyond the frame, the total length is below the header length, or it is an IPv6 jumbogram. */
  badHeaderLength: 5,
  /** The checksum of the IPv4 header is wrong. */
  badChecksum: 6,
  /** The segmentation fields and the frame do not agree. */
  badGso: 7,
  /** The kernel sent us a frame for our own subnet; the sender was told "host unreachable" (IPv6: "address unreachable"). */
  localDestination: 8,
  /** The source or destination address may not appear between hosts (unspecified, loopback, 0/8, link-local, class E, IPv4-mapped, or a source that is not unicast). */
  martian: 9,
  /** The destination is multicast or the limited broadcast, which the overlay does not carry. */
  notUnicast: 10,
  /** The time to live (IPv6: the hop limit) would reach zero here; the sender was told "time exceeded". */
  ttlExceeded: 11,
  /** The frame is larger than the path takes; the sender was told "fragmentation needed" (IPv6: "packet too big") with the right MTU. */
  tooBig: 12,
  /** The datagram came from an address that is no peer's. */
  unknownPeer: 13,
  /** The datagram came from a peer, but its inner source lies outside that peer's subnets. */
  spoofedSource: 14,
  /** The inner destination is not in a subnet of this host. */
  notLocal: 15,
  /** The socket's send buffer or the kernel's memory was full. */
  sendBufferFull: 16,
  /** The underlay had no way to the peer: no route, no neighbour, or the interface is down. */
  underlayUnreachable: 17,
  /** This host's firewall refused the datagram. */
  sendRefused: 18,
  /** The datagram is larger than the underlay takes: the overlay MTU is too high for it. */
  underlayTooBig: 19,
  /** The send failed with an errno that has no reason of its own. */
  sendFailed: 20,
  /** The kernel did not take the frame from us on the TUN device. */
  tunWriteFailed: 21,
  /** The underlay marked congestion on a frame whose transport does not know such marks: the loss is the signal (RFC 6040). */
  ecnNotCapable: 22,
  /** An IPv4 frame, and the network has no IPv4. */
  ipv4NotCarried: 23,
} as const;

export type DropReasonName = keyof typeof DropReason;
export type DropReasonCode = (typeof DropReason)[DropReasonName];

/** What the documentation and the metrics say about one reason. */
export interface DropReasonEntry {
  readonly name: DropReasonName;
  readonly code: DropReasonCode;
  readonly sentence: string;
  /** The directions in which a frame can end for it. */
  readonly directions: readonly Direction[];
}

const BOTH: readonly Direction[] = ['outbound', 'inbound'];
const OUTBOUND: readonly Direction[] = ['outbound'];
const INBOUND: readonly Direction[] = ['inbound'];

function entry(name: DropReasonName, directions: readonly Direction[], sentence: string): DropReasonEntry {
  return { name, code: DropReason[name], sentence, directions };
}

/** Every reason in order of its number: `DROP_REASONS[code - 1]`. */
export const DROP_REASONS: readonly DropReasonEntry[] = [
  entry(
    'noRoute',
    OUTBOUND,
    'No route covers the destination; the sender was told "net unreachable" (IPv6: "no route").',
  ),
  entry('truncated', BOTH, 'The frame is shorter than an IP header, or than its own total length.'),
  entry('badVersion', BOTH, 'The version field is neither 4 nor 6.'),
  entry('ipv6NotCarried', BOTH, 'An IPv6 frame, and the network has no IPv6.'),
  entry(
    'badHeaderLength',
    BOTH,
    'The header length is below 20 bytes or beyond the frame, the total length is below the header length, or it is an IPv6 jumbogram.',
  ),
  entry('badChecksum', BOTH, 'The checksum of the IPv4 header is wrong.'),
  entry('badGso', BOTH, 'The segmentation fields and the frame do not agree.'),
  entry(
    'localDestination',
    OUTBOUND,
    'The kernel sent us a frame for our own subnet; the sender was told "host unreachable" (IPv6: "address unreachable").',
  ),
  entry(
    'martian',
    BOTH,
    'The source or destination address may not appear between hosts (unspecified, loopback, 0/8, link-local, class E, IPv4-mapped, or a source that is not unicast).',
  ),
  entry(
    'notUnicast',
    BOTH,
    'The destination is multicast or the limited broadcast, which the overlay does not carry.',
  ),
  entry(
    'ttlExceeded',
    BOTH,
    'The time to live (IPv6: the hop limit) would reach zero here; the sender was told "time exceeded".',
  ),
  entry(
    'tooBig',
    OUTBOUND,
    'The frame is larger than the path takes; the sender was told "fragmentation needed" (IPv6: "packet too big") with the right MTU.',
  ),
  entry('unknownPeer', INBOUND, "The datagram came from an address that is no peer's."),
  entry(
    'spoofedSource',
    INBOUND,
    "The datagram came from a peer, but its inner source lies outside that peer's subnets.",
  ),
  entry('notLocal', INBOUND, 'The inner destination is not in a subnet of this host.'),
  entry('sendBufferFull', OUTBOUND, "The socket's send buffer or the kernel's memory was full."),
  entry(
    'underlayUnreachable',
    OUTBOUND,
    'The underlay had no way to the peer: no route, no neighbour, or the interface is down.',
  ),
  entry('sendRefused', OUTBOUND, "This host's firewall refused the datagram."),
  entry(
    'underlayTooBig',
    OUTBOUND,
    'The datagram is larger than the underlay takes: the overlay MTU is too high for it.',
  ),
  entry('sendFailed', OUTBOUND, 'The send failed with an errno that has no reason of its own.'),
  entry('tunWriteFailed', INBOUND, 'The kernel did not take the frame from us on the TUN device.'),
  entry(
    'ecnNotCapable',
    INBOUND,
    'The underlay marked congestion on a frame whose transport does not know such marks: the loss is the signal (RFC 6040).',
  ),
  entry('ipv4NotCarried', BOTH, 'An IPv4 frame, and the network has no IPv4.'),
];

/** The name of a reason's number; `reason 99` for a number that is none. */
export function dropReasonName(code: number): string {
  return DROP_REASONS[code - 1]?.name ?? `reason ${code}`;
}

const errnos = constants.errno;

/**
 * The reason for an outbound frame that the UDP socket did not take.
 *
 * @param errno positive, as in `lostErrno` of a burst
 */
export function dropReasonOfErrno(errno: number): DropReasonCode {
  switch (errno) {
    case errnos.EAGAIN:
    case errnos.ENOBUFS:
    case errnos.ENOMEM:
      return DropReason.sendBufferFull;
    case errnos.ENETUNREACH:
    case errnos.EHOSTUNREACH:
    case errnos.ENETDOWN:
      return DropReason.underlayUnreachable;
    case errnos.EPERM:
    case errnos.EACCES:
      return DropReason.sendRefused;
    case errnos.EMSGSIZE:
      return DropReason.underlayTooBig;
    default:
      return DropReason.sendFailed;
  }
}
