// What the segmenter's tests share: superframes, and the virtio-net headers that fit them.
#pragma once

#include <algorithm>

#include "../../native/segment.h"
#include "../reference/segment.h"
#include "check.h"
#include "random.h"

namespace check {

inline selvage::VnetHeader vnetFor(const reference::Packet& packet, size_t gsoBytes) {
  const uint8_t tcpType = packet.ipv6 ? selvage::VNET_GSO_TCPV6 : selvage::VNET_GSO_TCPV4;
  const size_t start = reference::ipHeaderBytes(packet);
  return {selvage::VNET_NEEDS_CSUM,
          packet.tcp ? tcpType : selvage::VNET_GSO_UDP_L4,
          static_cast<uint16_t>(reference::headerBytes(packet)),
          static_cast<uint16_t>(gsoBytes),
          static_cast<uint16_t>(start),
          static_cast<uint16_t>(packet.tcp ? 16 : 6)};
}

/// The plan points into `frame`.
inline int plan(const selvage::VnetHeader& vnet, const reference::Bytes& frame, selvage::SegmentPlan* out) {
  return selvage::planSegments(vnet, frame.data(), static_cast<uint32_t>(frame.size()), out);
}
inline int plan(const selvage::VnetHeader& vnet, reference::Bytes&& frame, selvage::SegmentPlan* out) = delete;

/// A plain superframe of three and a half segments.
inline reference::Packet sample(bool ipv6, bool tcp) {
  Random random(7);
  reference::Packet packet = check::randomPacket(random, ipv6, tcp);
  packet.payload = random.bytes(350);
  return packet;
}

inline reference::Packet randomSuperframe(Random& random, bool ipv6, bool tcp) {
  reference::Packet packet = randomPacket(random, ipv6, tcp);
  packet.flags = random.byte();
  packet.reserved = random.byte() & 0x0f;
  if (!ipv6 && random.oneIn(4)) packet.ipOptions = random.bytes(4 * random.between(1, 10));
  if (ipv6 && random.oneIn(4)) {
    const uint8_t types[] = {0, 43, 60};
    for (size_t i = random.between(1, 2); i > 0; i--) packet.extensions.push_back(types[random.below(3)]);
  }
  const size_t most = random.oneIn(20) ? 65535 - reference::headerBytes(packet) : 6000;
  packet.payload = random.bytes(random.between(1, most));
  return packet;
}

}  // namespace check
