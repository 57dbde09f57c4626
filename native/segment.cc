#include "segment.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "checksum.h"
#include "inet.h"

namespace selvage {
namespace {

/// The most that IPv4's total length can say, and no more than IPv6's payload length allows.
constexpr uint32_t MAX_SEGMENT_BYTES = 65535;

constexpr uint8_t IPV6_HOP_BY_HOP = 0;
constexpr uint8_t IPV6_ROUTING = 43;
constexpr uint8_t IPV6_DESTINATION_OPTIONS = 60;
constexpr uint32_t ROUTING_SEGMENTS_LEFT = 3;  // RFC 8200 section 4.4

/// An IP header as read from the frame. `bytes` is 0 when it is not one whose payload can be cut.
struct IpHeader {
  uint32_t bytes;
  uint8_t protocol;
};
constexpr IpHeader NOT_CUTTABLE = {0, 0};

IpHeader readIpv4(const uint8_t* frame, uint32_t frameBytes) {
  if (frameBytes < IPV4_MIN_BYTES) return NOT_CUTTABLE;
  const uint32_t bytes = (frame[0] & 0x0fu) * 4;
  if (bytes < IPV4_MIN_BYTES || bytes > frameBytes) return NOT_CUTTABLE;
  if ((load16(frame + IPV4_FRAGMENT) & IPV4_IS_FRAGMENT) != 0) return NOT_CUTTABLE;
  return {bytes, frame[IPV4_PROTOCOL]};
}

bool isSkippedHeader(uint8_t protocol) {
  return protocol == IPV6_HOP_BY_HOP || protocol == IPV6_ROUTING || protocol == IPV6_DESTINATION_OPTIONS;
}

/// Walks the extension headers that may stand before TCP or UDP. A routing header must be used up: before that the
/// pseudo-header's destination is not the one in the IPv6 header (RFC 8200 section 8.1).
IpHeader readIpv6(const uint8_t* frame, uint32_t frameBytes) {
  if (frameBytes < IPV6_BYTES) return NOT_CUTTABLE;
  uint32_t bytes = IPV6_BYTES;
  uint8_t protocol = frame[IPV6_NEXT_HEADER];
  while (isSkippedHeader(protocol)) {  // ends: each turn adds 8 bytes or more, up to MAX_HEADER_BYTES
    if (bytes + 8 > frameBytes || bytes >= MAX_HEADER_BYTES) return NOT_CUTTABLE;
    const uint8_t* extension = frame + bytes;
    if (protocol == IPV6_ROUTING && extension[ROUTING_SEGMENTS_LEFT] != 0) return NOT_CUTTABLE;
    protocol = extension[0];
    bytes += (extension[1] + 1u) * 8;
  }
  if (bytes > frameBytes) return NOT_CUTTABLE;
  return {bytes, protocol};
}

/// Bytes of the TCP or UDP header at `transport`, or 0 when it does not fit into `bytesLeft`.
uint32_t transportHeaderBytes(bool tcp, const uint8_t* transport, uint32_t bytesLeft) {
  if (!tcp) return bytesLeft < UDP_BYTES ? 0 : UDP_BYTES;
  if (bytesLeft < TCP_MIN_BYTES) return 0;
  const uint32_t bytes = (transport[TCP_DATA_OFFSET] >> 4) * 4u;
  return bytes < TCP_MIN_BYTES || bytes > bytesLeft ? 0 : bytes;
}

/// Does the gso type name the protocol and the IP version that the frame has?
bool typeMatches(uint8_t gsoType, bool ipv6, uint8_t protocol) {
  switch (gsoType & ~VNET_GSO_ECN) {
    case VNET_GSO_TCPV4:
      return !ipv6 && protocol == PROTOCOL_TCP;
    case VNET_GSO_TCPV6:
      return ipv6 && protocol == PROTOCOL_TCP;
    case VNET_GSO_UDP_L4:
      return protocol == PROTOCOL_UDP;
    default:
      return false;
  }
}

/// Sum of the IPv4 header without the fields that stampSegment writes.
uint64_t sumIpv4Header(const SegmentPlan& plan) {
  uint8_t header[MAX_HEADER_BYTES];
  std::memcpy(header, plan.frame, plan.ipHeaderBytes);
  store16(header + IPV4_TOTAL_LENGTH, 0);
  store16(header + IPV4_IDENTIFICATION, 0);
  store16(header + IPV4_CHECKSUM, 0);
  return checksumSum(header, plan.ipHeaderBytes, 0);
}

/// Sum of pseudo-header and transport header without the fields that stampSegment writes.
uint64_t sumTransportHeader(const SegmentPlan& plan) {
  uint8_t header[TCP_MAX_BYTES];
  const uint32_t bytes = plan.headerBytes - plan.ipHeaderBytes;
  std::memcpy(header, plan.frame + plan.ipHeaderBytes, bytes);
  if (plan.tcp) {
    store32(header + TCP_SEQUENCE, 0);
    header[TCP_FLAGS] = 0;
    store16(header + TCP_CHECKSUM, 0);
  } else {
    store16(header + UDP_LENGTH, 0);
    store16(header + UDP_CHECKSUM, 0);
  }
  const uint8_t* addresses = plan.frame + (plan.ipv6 ? IPV6_ADDRESSES : IPV4_ADDRESSES);
  const uint32_t addressBytes = plan.ipv6 ? IPV6_ADDRESS_BYTES : IPV4_ADDRESS_BYTES;
  const uint64_t pseudo = pseudoHeaderSum(addresses, addressBytes, plan.tcp ? PROTOCOL_TCP : PROTOCOL_UDP, 0);
  return checksumSum(header, bytes, pseudo);
}

void stampIp(const SegmentPlan& plan, uint32_t index, uint32_t bytes, uint8_t* header) {
  if (plan.ipv6) {
    store16(header + IPV6_PAYLOAD_LENGTH, bytes - IPV6_BYTES);
    return;
  }
  const uint32_t identification = (load16(plan.frame + IPV4_IDENTIFICATION) + index) & 0xffff;
  store16(header + IPV4_TOTAL_LENGTH, bytes);
  store16(header + IPV4_IDENTIFICATION, identification);
  store16(header + IPV4_CHECKSUM, ~uint32_t{foldChecksum(plan.ipSum + bytes + identification)});
}

/// Flags that belong to one end of the superframe are cleared on the segments in between.
uint8_t segmentFlags(uint8_t flags, bool first, bool last) {
  const uint8_t cleared = static_cast<uint8_t>((first ? 0 : TCP_CWR) | (last ? 0 : TCP_FIN | TCP_PSH));
  return static_cast<uint8_t>(flags & ~cleared);
}

/// Writes sequence number and flags; returns their part of the checksum.
uint64_t stampTcp(const SegmentPlan& plan, uint32_t index, uint8_t* transport) {
  const uint32_t sequence = load32(transport + TCP_SEQUENCE) + index * plan.payloadBytes;
  const uint8_t flags = segmentFlags(transport[TCP_FLAGS], index == 0, index + 1 == plan.segments);
  store32(transport + TCP_SEQUENCE, sequence);
  transport[TCP_FLAGS] = flags;
  return uint64_t{sequence} + flags;
}

}  // namespace

int planSegments(const VnetHeader& vnet, const uint8_t* frame, uint32_t frameBytes, SegmentPlan* plan) {
  if (frameBytes == 0 || frameBytes > MAX_SUPERFRAME_BYTES) return -EINVAL;
  if ((vnet.flags & VNET_NEEDS_CSUM) == 0 || vnet.gsoBytes == 0) return -EINVAL;

  // The header chain, from the frame alone.
  const uint32_t version = frame[0] >> 4;
  if (version != 4 && version != 6) return -EINVAL;
  const bool ipv6 = version == 6;
  const IpHeader ip = ipv6 ? readIpv6(frame, frameBytes) : readIpv4(frame, frameBytes);
  if (ip.bytes == 0 || !typeMatches(vnet.gsoType, ipv6, ip.protocol)) return -EINVAL;
  const bool tcp = ip.protocol == PROTOCOL_TCP;
  const uint32_t transportBytes = transportHeaderBytes(tcp, frame + ip.bytes, frameBytes - ip.bytes);
  const uint32_t headerBytes = ip.bytes + transportBytes;
  if (transportBytes == 0 || headerBytes > MAX_HEADER_BYTES) return -EINVAL;

  // What the kernel says of it. headerBytes of the virtio-net header is only a hint and is not compared.
  if (vnet.csumStart != ip.bytes || vnet.csumOffset != (tcp ? TCP_CHECKSUM : UDP_CHECKSUM)) return -EINVAL;
  const uint32_t payload = frameBytes - headerBytes;
  const uint32_t payloadBytes = std::min(payload, uint32_t{vnet.gsoBytes});
  if (headerBytes + payloadBytes > MAX_SEGMENT_BYTES) return -EINVAL;

  plan->frame = frame;
  plan->frameBytes = frameBytes;
  plan->ipHeaderBytes = ip.bytes;
  plan->headerBytes = headerBytes;
  plan->payloadBytes = payloadBytes;
  plan->segments = payload == 0 ? 1 : (payload + payloadBytes - 1) / payloadBytes;
  plan->ipv6 = ipv6;
  plan->tcp = tcp;
  plan->ipSum = ipv6 ? 0 : sumIpv4Header(*plan);
  plan->transportSum = sumTransportHeader(*plan);
  return static_cast<int>(plan->segments);
}

uint32_t stampSegment(const SegmentPlan& plan, uint32_t index, uint8_t* header, const uint8_t** payload) {
  const uint32_t at = plan.headerBytes + index * plan.payloadBytes;
  const uint32_t bytes = std::min(plan.frameBytes - at, plan.payloadBytes);
  uint8_t* transport = header + plan.ipHeaderBytes;
  const uint32_t transportBytes = plan.headerBytes - plan.ipHeaderBytes + bytes;

  std::memcpy(header, plan.frame, plan.headerBytes);
  stampIp(plan, index, plan.headerBytes + bytes, header);
  uint64_t sum = checksumSum(plan.frame + at, bytes, plan.transportSum + transportBytes);
  if (plan.tcp) {
    sum += stampTcp(plan, index, transport);
    store16(transport + TCP_CHECKSUM, ~uint32_t{foldChecksum(sum)});
  } else {
    store16(transport + UDP_LENGTH, transportBytes);
    const uint32_t checksum = ~uint32_t{foldChecksum(sum + transportBytes)} & 0xffff;
    store16(transport + UDP_CHECKSUM, checksum == 0 ? 0xffff : checksum);
  }
  *payload = plan.frame + at;
  return bytes;
}

int finishChecksum(const VnetHeader& vnet, uint8_t* frame, uint32_t frameBytes) {
  if ((vnet.flags & VNET_NEEDS_CSUM) == 0) return 0;
  const uint32_t start = vnet.csumStart;
  const uint32_t field = start + vnet.csumOffset;
  if (field + 2 > frameBytes) return -EINVAL;
  // A checksum written into the IP header could change an address after the route was chosen by it.
  const uint32_t ipHeaderBytes = frame[0] >> 4 == 6 ? IPV6_BYTES : (frame[0] & 0x0fu) * 4;
  if (start < ipHeaderBytes || start < IPV4_MIN_BYTES) return -EINVAL;
  const uint32_t checksum = ~uint32_t{foldChecksum(checksumSum(frame + start, frameBytes - start, 0))} & 0xffff;
  store16(frame + field, checksum == 0 ? 0xffff : checksum);
  return 0;
}

}  // namespace selvage
