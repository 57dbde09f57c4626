// What the coalescer's tests share: packets that follow on, and a burst held against the packet-at-a-time coalescer.
#pragma once

#include <string>
#include <vector>

#include "burst.h"
#include "check.h"
#include "random.h"

namespace check {

using Groups = std::vector<std::vector<size_t>>;

constexpr uint32_t ALL_KINDS =
    selvage::COALESCE_TCP4 | selvage::COALESCE_TCP6 | selvage::COALESCE_UDP4 | selvage::COALESCE_UDP6;

/// The packet that follows `packet` in its flow.
inline reference::Packet following(const reference::Packet& packet, Random& random) {
  reference::Packet next = packet;
  next.sequence += static_cast<uint32_t>(packet.payload.size());
  if (!packet.ipv6) next.identification++;
  next.payload = random.bytes(packet.payload.size());
  return next;
}

inline size_t transportAt(const reference::Bytes& bytes) { return bytes[0] >> 4 == 6 ? 40 : 20; }

inline Groups groupsOf(const std::vector<reference::Made>& made) {
  Groups out;
  for (const reference::Made& frame : made) out.push_back(frame.datagrams);
  return out;
}

inline std::string print(const Groups& groups) {
  std::string out;
  for (const auto& group : groups) {
    out += "{";
    for (size_t i : group) out += " " + std::to_string(i);
    out += " }";
  }
  return out;
}

/// Runs a burst and holds it against the reference: same frames, same bytes.
inline std::vector<reference::Made> agree(selvage::Coalescer& coalescer, const std::vector<reference::Datagram>& list,
                                          uint32_t kinds) {
  const Outcome outcome = coalesce(coalescer, list);
  const std::vector<reference::Frame> expected = reference::coalesce(list, kinds);
  CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
  Groups groups;
  for (const reference::Frame& frame : expected) groups.push_back(frame.datagrams);
  CHECK_CASE(groupsOf(outcome.made) == groups, print(groupsOf(outcome.made)) + ", reference " + print(groups));
  if (groupsOf(outcome.made) != groups) return outcome.made;
  for (size_t i = 0; i < expected.size(); i++) {
    const bool single = expected[i].datagrams.size() == 1;
    const reference::Bytes bytes =
        single ? list[expected[i].datagrams[0]].bytes : reference::superframe(expected[i], list);
    CHECK(outcome.made[i].bytes == bytes);
  }
  return outcome.made;
}

}  // namespace check
