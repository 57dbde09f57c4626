// Cuts a superframe into wire-sized segments, as a gather list: headers are stamped into memory the caller gives,
// payloads stay where they are. Pure: no system call, no Node, no allocation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "virtio.h"

namespace selvage {

/// No inner header chain we cut is longer: IPv6 (40) + TCP (60), or IPv4 (60) + TCP (60). IPv6 hop-by-hop options,
/// destination options and a finished routing header are accepted as far as they fit.
constexpr uint32_t MAX_HEADER_BYTES = 120;

/// No longer superframe is accepted: an IPv6 header and the most its payload length can say (RFC 8200 section 3).
/// TUN keeps to it (gso_max_size 65,536; no BIG TCP).
constexpr uint32_t MAX_SUPERFRAME_BYTES = 40 + 65535;

/// What does not change from segment to segment. Filled by planSegments, read by stampSegment. It holds sums over the
/// frame's header: plan again after changing the header (TTL, for one).
struct SegmentPlan {
  const uint8_t* frame;
  uint32_t frameBytes;
  uint32_t ipHeaderBytes;
  uint32_t headerBytes;   // IP and transport header: what is stamped before each payload
  uint32_t payloadBytes;  // of one segment; the last may carry less
  uint32_t segments;      // 1 to 65,535
  bool ipv6;
  bool tcp;               // else UDP
  uint64_t ipSum;         // private to segment.cc: IPv4 header without total length, identification and checksum
  uint64_t transportSum;  // private to segment.cc: pseudo-header and transport header without what varies
};

/// Checks the virtio-net header against the frame and fills `plan`.
/// The kernel's header is not trusted: every offset and length is derived again from the frame. The frame's own total,
/// payload and UDP lengths are not read: the kernel leaves them short or 0 in a superframe, and `frameBytes` rules.
/// @returns the number of segments (1 or more), or -EINVAL when header and frame do not agree, when it is not a
///   superframe (VNET_GSO_NONE), or when a segment would be longer than IP can carry. `plan` is then unspecified.
int planSegments(const VnetHeader& vnet, const uint8_t* frame, uint32_t frameBytes, SegmentPlan* plan);

/// Writes the header of segment `index` (plan.headerBytes bytes) to `header`: lengths, IPv4 identification (one more
/// for each segment, as Linux inet_gso_segment does) and header checksum, TCP sequence number, flags (FIN and PSH on
/// the last segment only, CWR on the first only: RFC 3168 section 6.1.2) and the full transport checksum.
/// @param index 0 to plan.segments - 1
/// @param header room for plan.headerBytes, outside the frame
/// @param payload receives the address of the segment's payload inside the frame
/// @returns payload bytes of this segment (0 only for a superframe without payload)
uint32_t stampSegment(const SegmentPlan& plan, uint32_t index, uint8_t* header, const uint8_t** payload);

/// Completes the checksum of a frame that is not a superframe but has VNET_NEEDS_CSUM, in place. Without that flag it
/// does nothing. A checksum that comes out as 0 is written as 0xffff, which says the same (RFC 768 asks for it; Linux
/// skb_checksum_help does it for every protocol).
/// @returns 0, or -EINVAL when csumStart or csumOffset point outside the frame or into its fixed IP header
int finishChecksum(const VnetHeader& vnet, uint8_t* frame, uint32_t frameBytes);

}  // namespace selvage
