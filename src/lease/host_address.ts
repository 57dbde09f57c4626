import { familyOf } from '../ip_address.js';
import { isUnicastIpv4, parseIpv4 } from '../ipv4_prefix.js';
import { parseIpv6 } from '../ipv6_prefix.js';

const LOOPBACK_IPV6 = 1n;
/** `::ffff:0:0/96` (RFC 4291 section 2.5.5.2) without its last 32 bits. */
const MAPPED = 0xffffn;

/**
 * Whether other hosts can send to an address of either family: unicast, and not loopback. Link-local IPv4 will do on one
 * link, as for flanneld; link-local IPv6 will not, because it means nothing without a zone (RFC 4007 section 6).
 *
 * @throws SelvageError ERR_ADDRESS_INVALID
 */
export function isHostAddress(text: string): boolean {
  if (familyOf(text) === 6) {
    const address = parseIpv6(text);
    return isUnicastIpv6(address) && address !== LOOPBACK_IPV6;
  }
  const address = parseIpv4(text);
  return isUnicastIpv4(address) && address >>> 24 !== 127;
}

/**
 * Whether an address of either family can be one host's, loopback included.
 *
 * @throws SelvageError ERR_ADDRESS_INVALID
 */
export function isUnicastAddress(text: string): boolean {
  return familyOf(text) === 6 ? isUnicastIpv6(parseIpv6(text)) : isUnicastIpv4(parseIpv4(text));
}

/** Not unspecified, multicast ff00::/8, link-local fe80::/10, or an IPv4 address in disguise (RFC 4291 section 2.4). */
function isUnicastIpv6(address: bigint): boolean {
  return (
    address !== 0n && address >> 120n !== 0xffn && address >> 118n !== 0x3fan && address >> 32n !== MAPPED
  );
}
