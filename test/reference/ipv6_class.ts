import type { DropReasonName } from '../../src/encap/drop_reason.js';

/** Prefixes of addresses that stay in their host or on their link (RFC 4291 section 2.5), as bits in text. */
const HOST_OR_LINK: readonly string[] = [
  '0'.repeat(128), // ::
  `${'0'.repeat(127)}1`, // ::1
  '0'.repeat(80) + '1'.repeat(16), // ::ffff:0:0/96
  '1111111010', // fe80::/10
];
const MULTICAST = '11111111'; // ff00::/8

/** May a frame from one address to the other pass between hosts? Each is 16 bytes. */
export function referenceIpv6Addresses(
  source: Uint8Array,
  destination: Uint8Array,
): DropReasonName | 'sound' {
  if (staysAtHome(bitsOf(source)) || bitsOf(source).startsWith(MULTICAST)) return 'martian';
  if (staysAtHome(bitsOf(destination))) return 'martian';
  return bitsOf(destination).startsWith(MULTICAST) ? 'notUnicast' : 'sound';
}

function staysAtHome(bits: string): boolean {
  return HOST_OR_LINK.some((prefix) => bits.startsWith(prefix));
}

function bitsOf(address: Uint8Array): string {
  return Array.from(address, (byte) => byte.toString(2).padStart(8, '0')).join('');
}
