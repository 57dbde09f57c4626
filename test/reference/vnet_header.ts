/**
 * The virtio-net header that a TUN queue opened with IFF_VNET_HDR puts before each frame; only native reads it.
 *
 * Layout: Linux include/uapi/linux/virtio_net.h; native's copy is native/virtio.h. Host byte order, which is
 * little-endian on every machine the addon is built for (x86-64, arm64).
 *
 * ```text
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +---------------+---------------+-------------------------------+
 * |     flags     |   gso type    |       header bytes (LE)       |
 * +---------------+---------------+-------------------------------+
 * |        gso bytes (LE)         |        csum start (LE)        |
 * +-------------------------------+-------------------------------+
 * |       csum offset (LE)        |  IP frame ...
 * +-------------------------------+
 * ```
 */

import { struct, u16 as u16Field, u8 as u8Field } from 'buffer-layout';
import { put8, u8 } from '../../src/bytes.js';
import { fieldOffset } from '../../src/field_offset.js';

/** The fields as {@link VNET_LAYOUT} decodes them; what each means is in native/virtio.h. */
export interface VnetFields {
  flags: number;
  gsoType: number;
  headerBytes: number;
  gsoBytes: number;
  csumStart: number;
  csumOffset: number;
}

/** The one description of the header: offsets come from it. */
export const VNET_LAYOUT = struct<VnetFields>([
  u8Field('flags'),
  u8Field('gsoType'),
  u16Field('headerBytes'),
  u16Field('gsoBytes'),
  u16Field('csumStart'),
  u16Field('csumOffset'),
]);

export const VNET_OFFSET_FLAGS = fieldOffset(VNET_LAYOUT, 'flags');
export const VNET_OFFSET_GSO_TYPE = fieldOffset(VNET_LAYOUT, 'gsoType');
export const VNET_OFFSET_HEADER_BYTES = fieldOffset(VNET_LAYOUT, 'headerBytes');
export const VNET_OFFSET_GSO_BYTES = fieldOffset(VNET_LAYOUT, 'gsoBytes');
export const VNET_OFFSET_CSUM_START = fieldOffset(VNET_LAYOUT, 'csumStart');
export const VNET_OFFSET_CSUM_OFFSET = fieldOffset(VNET_LAYOUT, 'csumOffset');

export const VNET_HEADER_BYTES = VNET_LAYOUT.span;

/** Flag: the transport checksum is a pseudo-header sum, to be completed from `csumStart` on. */
export const VNET_NEEDS_CSUM = 1;
/** Values of the gso type. USO (`VNET_GSO_UDP_L4`) came with Linux 6.2. */
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
export const VNET_GSO_TCPV6 = 4;
export const VNET_GSO_UDP_L4 = 5;
/** A flag beside the type: the first segment carries CWR. */
export const VNET_GSO_ECN = 0x80;

/** Writes a header at `at`. */
export function putVnetHeader(slab: Uint8Array, at: number, header: Readonly<VnetFields>): void {
  put8(slab, at + VNET_OFFSET_FLAGS, header.flags);
  put8(slab, at + VNET_OFFSET_GSO_TYPE, header.gsoType);
  put16le(slab, at + VNET_OFFSET_HEADER_BYTES, header.headerBytes);
  put16le(slab, at + VNET_OFFSET_GSO_BYTES, header.gsoBytes);
  put16le(slab, at + VNET_OFFSET_CSUM_START, header.csumStart);
  put16le(slab, at + VNET_OFFSET_CSUM_OFFSET, header.csumOffset);
}

export function vnetFlags(slab: Uint8Array, at: number): number {
  return u8(slab, at + VNET_OFFSET_FLAGS);
}

/** The type with its flag {@link VNET_GSO_ECN}. */
export function vnetGsoType(slab: Uint8Array, at: number): number {
  return u8(slab, at + VNET_OFFSET_GSO_TYPE);
}

export function vnetHeaderBytes(slab: Uint8Array, at: number): number {
  return u16le(slab, at + VNET_OFFSET_HEADER_BYTES);
}

export function vnetGsoBytes(slab: Uint8Array, at: number): number {
  return u16le(slab, at + VNET_OFFSET_GSO_BYTES);
}

export function vnetCsumStart(slab: Uint8Array, at: number): number {
  return u16le(slab, at + VNET_OFFSET_CSUM_START);
}

export function vnetCsumOffset(slab: Uint8Array, at: number): number {
  return u16le(slab, at + VNET_OFFSET_CSUM_OFFSET);
}

function u16le(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function put16le(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
