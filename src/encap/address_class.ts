/**
 * Which addresses may stand in a frame between hosts (RFC 1812 section 5.3.7). Addresses are int32.
 */

const LIMITED_BROADCAST = -1; // 255.255.255.255
const FIRST_OCTET_MULTICAST = 224;
const FIRST_OCTET_CLASS_E = 240;
const FIRST_OCTET_LOOPBACK = 127;
const LINK_LOCAL = 0xa9fe; // 169.254/16

/**
 * May never be sent by one host to another: 0/8, 127/8, multicast, class E and the limited broadcast
 * (RFC 1812 sections 4.2.2.11 and 5.3.7), and 169.254/16, which a router must not forward (RFC 3927 section 2.7).
 */
export function isMartianSource(address: number): boolean {
  const first = address >>> 24;
  return (
    first >= FIRST_OCTET_MULTICAST ||
    first === FIRST_OCTET_LOOPBACK ||
    first === 0 ||
    address >>> 16 === LINK_LOCAL
  );
}

/** May never be sent to from another host: 0/8, 127/8, class E, 169.254/16. Not multicast nor limited broadcast. */
export function isMartianDestination(address: number): boolean {
  const first = address >>> 24;
  if (first >= FIRST_OCTET_MULTICAST) return first >= FIRST_OCTET_CLASS_E && address !== LIMITED_BROADCAST;
  return first === FIRST_OCTET_LOOPBACK || first === 0 || address >>> 16 === LINK_LOCAL;
}

/** Multicast, or the limited broadcast. */
export function isGroupDestination(address: number): boolean {
  return address >>> 28 === 0xe || address === LIMITED_BROADCAST;
}
