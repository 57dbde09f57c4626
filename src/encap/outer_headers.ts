/** Bytes before each inner packet, by family of the underlay: IPv4 (20 bytes) or IPv6 (40 bytes), and UDP (8 bytes). */
export const OUTER_HEADER_BYTES = { 4: 28, 6: 48 } as const;
