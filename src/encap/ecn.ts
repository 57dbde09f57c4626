/**
 * Congestion marks and priorities across the tunnel (ECN: RFC 6040; DSCP: RFC 2983 section 3, on the way out as the uniform
 * model has it, on the way in as the pipe model has it).
 *
 * ```text
 *  out: outer DSCP = inner DSCP, outer ECN = inner ECN (RFC 6040 section 4.1, normal mode)
 *
 *  in: outer DSCP is ignored; inner ECN becomes (RFC 6040 section 4.2, figure 4)
 *
 *             outer   Not-ECT    ECT(0)     ECT(1)     CE
 *   inner
 *   Not-ECT           Not-ECT    Not-ECT    Not-ECT    drop
 *   ECT(0)            ECT(0)     ECT(0)     ECT(1)     CE
 *   ECT(1)            ECT(1)     ECT(1)     ECT(1)     CE
 *   CE                CE         CE         CE         CE
 * ```
 */

import { putTrafficClass, trafficClassOf } from './traffic_class.js';

/** Codepoints (RFC 3168 section 5). */
export const ECN_NOT_ECT = 0;
export const ECN_ECT_1 = 1;
export const ECN_ECT_0 = 2;
export const ECN_CE = 3;

/** What {@link decapsulatedEcn} returns for a frame that must be dropped. */
export const ECN_DROP = -1;

const ECN_BITS = 3;

/**
 * The traffic class that the outer header gets: the inner one's, all eight bits.
 *
 * @param at first byte of a sound header of either family
 * @returns 0..255
 */
export function outerClassOf(slab: Uint8Array, at: number): number {
  return trafficClassOf(slab, at);
}

/**
 * The inner codepoint after decapsulation.
 *
 * A mark on a frame whose transport does not know marks can only be passed on as a loss.
 *
 * @param inner 0..3
 * @param outer 0..3
 * @returns 0..3, or {@link ECN_DROP}
 */
export function decapsulatedEcn(inner: number, outer: number): number {
  if (inner === ECN_NOT_ECT) return outer === ECN_CE ? ECN_DROP : ECN_NOT_ECT;
  if (inner === ECN_CE || outer === ECN_CE) return ECN_CE;
  return outer === ECN_ECT_1 ? ECN_ECT_1 : inner;
}

/**
 * Carries the congestion mark of the outer header into a frame that came in, with the checksum of IPv4 corrected.
 *
 * @param at first byte of a sound header of either family
 * @param outerClass traffic class of the outer header, 0..255
 * @returns false when the frame must be dropped (`ecnNotCapable`); it is as it was then
 * @remarks Allocates nothing, never throws. A frame whose outer ECN is 0, the common case, costs one compare.
 */
export function applyOuterEcn(slab: Uint8Array, at: number, outerClass: number): boolean {
  const outer = outerClass & ECN_BITS;
  return outer === ECN_NOT_ECT || mergeOuterEcn(slab, at, outer);
}

function mergeOuterEcn(slab: Uint8Array, at: number, outer: number): boolean {
  const innerClass = trafficClassOf(slab, at);
  const inner = innerClass & ECN_BITS;
  const ecn = decapsulatedEcn(inner, outer);
  if (ecn === ECN_DROP) return false;
  if (ecn !== inner) putTrafficClass(slab, at, (innerClass & ~ECN_BITS) | ecn);
  return true;
}
