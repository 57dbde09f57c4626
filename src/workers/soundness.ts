import { classifyAddresses } from '../encap/address_class.js';
import { classifyIpv4 } from '../encap/classify.js';
import { classifyIpv6 } from '../encap/classify_ipv6.js';
import { DropReason } from '../encap/drop_reason.js';
import { classifyIpv6Addresses } from '../encap/ipv6_address_class.js';
import { ipVersion, ipv4Destination, ipv4Source } from '../encap/ipv4_header.js';
import type { Burst } from '../tun/burst.js';
import type { LaneContext } from './lane_context.js';

/** Fate of a frame on which nothing was decided but that it is sound. */
export const SOUND = 0;

/**
 * The first pass over a burst, the same in both directions: fills `fate` of rows `0..count-1` with {@link SOUND} for a
 * frame that routing may look at, or `-DropReason` for one that no router forwards, wherever it goes.
 *
 * A pass of its own because V8 inlines only so much into one loop: with the routing behind it in the same loop, an
 * inbound decision took 55 ns instead of 38 (bench/micro, decapsulate).
 *
 * @remarks Lane thread only. Allocates nothing, never throws, changes no frame, whatever the bytes are.
 */
export function judgeSoundness(burst: Burst, count: number, lane: LaneContext): void {
  const { slab, offset, length, segments, fate } = burst;
  const { carriesIpv4, carriesIpv6 } = lane;
  for (let i = 0; i < count; i++) {
    const rowSegments = segments[i]!;
    if (rowSegments < 1) {
      fate[i] = -DropReason.badGso;
      continue;
    }
    const at = offset[i]!;
    const rowBytes = length[i]!;
    const version = rowBytes > 0 ? ipVersion(slab, at) : 0;
    if (version === 6) {
      fate[i] = carriesIpv6 ? ipv6Verdict(slab, at, rowBytes, rowSegments) : -DropReason.ipv6NotCarried;
      continue;
    }
    if (version === 4 && !carriesIpv4) {
      fate[i] = -DropReason.ipv4NotCarried;
      continue;
    }
    const verdict = classifyIpv4(slab, at, rowBytes, rowSegments);
    fate[i] = verdict < 0 ? verdict : classifyAddresses(ipv4Source(slab, at), ipv4Destination(slab, at));
  }
}

function ipv6Verdict(slab: Uint8Array, at: number, length: number, segments: number): number {
  const verdict = classifyIpv6(slab, at, length, segments);
  return verdict < 0 ? verdict : classifyIpv6Addresses(slab, at);
}
