/** The upper layer of an IPv6 packet, header by header over slices, with every rule spelt out. */

const COMMON_FORM = [0, 43, 60, 135, 139, 140];
const [FRAGMENT, AUTHENTICATION] = [44, 51];
const EXTENSIONS = [...COMMON_FORM, FRAGMENT, AUTHENTICATION];

export type UpperLayer = { protocol: number; offset: number } | 'unknown';

/** @param packet from its IPv6 header on, no longer than that header claims */
export function referenceUpperLayer(packet: Uint8Array, maxHeaders = 8): UpperLayer {
  let protocol = packet[6]!;
  let rest = packet.slice(40);
  let walked = 0;
  while (EXTENSIONS.includes(protocol)) {
    if (walked === maxHeaders) return 'unknown';
    if (rest.length < 8) return 'unknown'; // no extension header is shorter
    let bytes = 8;
    if (COMMON_FORM.includes(protocol)) bytes = 8 + 8 * rest[1]!;
    if (protocol === AUTHENTICATION) bytes = 8 + 4 * rest[1]!;
    if (rest.length < bytes) return 'unknown';
    const offset = protocol === FRAGMENT ? Math.floor((rest[2]! * 256 + rest[3]!) / 8) : 0;
    protocol = rest[0]!;
    if (offset > 0) return EXTENSIONS.includes(protocol) ? 'unknown' : { protocol, offset: 0 };
    rest = rest.slice(bytes);
    walked++;
  }
  return { protocol, offset: packet.length - rest.length };
}
