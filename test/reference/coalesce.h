// A coalescer that reads every packet whole, checks every checksum first and searches all frames for the open one; and
// what must hold for any coalescer whatever it is fed.
#pragma once

#include <algorithm>
#include <string>

#include "packet.h"
#include "segment.h"

namespace reference {

struct Datagram {
  Bytes bytes;
  uint32_t source = 0;
  uint8_t outerClass = 0;
};

struct Frame {
  std::vector<size_t> datagrams;  // indices, in order
  bool open = false;
  uint32_t source = 0;
  uint8_t outerClass = 0;
  Reading first;
  size_t bytes = 0;
  uint8_t lastFlags = 0;
};

inline bool samePair(const Packet& a, const Packet& b) {
  return a.ipv6 == b.ipv6 && a.source == b.source && a.destination == b.destination;
}

inline bool sameFlow(const Packet& a, const Packet& b) {
  return samePair(a, b) && a.tcp == b.tcp && a.sourcePort == b.sourcePort && a.destinationPort == b.destinationPort;
}

/// May the datagram be part of a superframe at all?
inline bool joinable(const Reading& reading, bool kindAllowed) {
  const Packet& packet = reading.packet;
  if (reading.shape != Shape::REGULAR || !kindAllowed || !reading.checksumsRight) return false;
  if (packet.payload.empty() || reading.udpWithoutChecksum) return false;
  return !packet.tcp || (packet.reserved == 0 && (packet.flags == ACK || packet.flags == (ACK | PSH)));
}

inline bool sameHeader(const Packet& a, const Packet& b) {
  const bool ip = a.trafficClass == b.trafficClass && a.hopLimit == b.hopLimit && a.flowLabel == b.flowLabel;
  const bool fragment = a.ipv6 || a.dontFragment == b.dontFragment;
  const bool tcp = a.acknowledgment == b.acknowledgment && a.window == b.window && a.urgent == b.urgent;
  return ip && fragment && (!a.tcp || (tcp && a.tcpOptions == b.tcpOptions));
}

/// Is `next`, joinable, the next segment of the open frame?
inline bool continues(const Frame& frame, const Packet& next) {
  const Packet& head = frame.first.packet;
  const size_t count = frame.datagrams.size();
  if (!sameHeader(head, next) || next.payload.size() > head.payload.size()) return false;
  if (count == 64 || frame.bytes + next.payload.size() > 65535) return false;
  const bool ordered =
      head.ipv6 || head.dontFragment || next.identification == static_cast<uint16_t>(head.identification + count);
  const uint32_t sequence = static_cast<uint32_t>(head.sequence + count * head.payload.size());
  return ordered && (!head.tcp || next.sequence == sequence);
}

inline uint32_t kindOf(const Packet& packet) { return (packet.tcp ? 1u : 4u) << (packet.ipv6 ? 1 : 0); }

/// @param kinds as selvage::CoalesceKinds
inline std::vector<Frame> coalesce(const std::vector<Datagram>& list, uint32_t kinds) {
  std::vector<Frame> frames;
  for (size_t i = 0; i < list.size(); i++) {
    const Reading reading = read(list[i].bytes);
    const Packet& packet = reading.packet;
    const bool may = joinable(reading, (kinds & kindOf(packet)) != 0);
    Frame* joined = nullptr;
    for (Frame& frame : frames) {
      if (!frame.open || frame.source != list[i].source || reading.shape == Shape::NO_IP) continue;
      const Packet& head = frame.first.packet;
      if (!samePair(head, packet) || (reading.shape != Shape::NO_PORTS && !sameFlow(head, packet))) continue;
      frame.open = may && frame.outerClass == list[i].outerClass && continues(frame, packet);
      if (frame.open) joined = &frame;
    }
    if (joined == nullptr) {
      const size_t headers = list[i].bytes.size() - packet.payload.size();
      frames.push_back({{}, may, list[i].source, list[i].outerClass, reading, headers, 0});
      joined = &frames.back();
    }
    joined->datagrams.push_back(i);
    joined->bytes += packet.payload.size();
    joined->lastFlags = packet.flags;
    const bool shorter = packet.payload.size() < joined->first.packet.payload.size();
    if (shorter || (packet.tcp && (packet.flags & PSH) != 0)) joined->open = false;
  }
  return frames;
}

/// The bytes that a frame of more than one datagram has on TUN.
inline Bytes superframe(const Frame& frame, const std::vector<Datagram>& list) {
  Packet packet = frame.first.packet;
  packet.payload.clear();
  for (size_t i : frame.datagrams) append(packet.payload, read(list[i].bytes).packet.payload);
  packet.flags = static_cast<uint8_t>(packet.flags | (frame.lastFlags & PSH));
  return buildPartial(packet);
}

/// Must the later of the two never overtake the earlier?
inline bool orderMatters(const Reading& a, uint32_t sourceA, const Reading& b, uint32_t sourceB) {
  if (sourceA != sourceB || a.shape == Shape::NO_IP || b.shape == Shape::NO_IP) return false;
  if (a.shape == Shape::NO_PORTS || b.shape == Shape::NO_PORTS) return samePair(a.packet, b.packet);
  return sameFlow(a.packet, b.packet);
}

/// 0x0000 and 0xffff say the same in a checksum field (RFC 1071 section 2, RFC 1624 section 3).
inline unsigned oneZero(unsigned checksum) { return checksum == 0xffff ? 0 : checksum; }

/// Equal but for the identification where DF leaves it without meaning, and what follows from it.
inline bool equivalent(Bytes a, Bytes b) {
  const Reading readingA = read(a);
  const Reading readingB = read(b);
  if (readingA.shape != Shape::REGULAR || readingB.shape != Shape::REGULAR || a.size() != b.size()) return false;
  if (!readingA.checksumsRight || !readingB.checksumsRight) return false;
  const size_t at = checksumAt(readingA.packet);
  if (oneZero(get16(a, at)) != oneZero(get16(b, at))) return false;
  for (Bytes* bytes : {&a, &b}) {
    set16(*bytes, at, 0);
    if (readingA.packet.ipv6) continue;
    set16(*bytes, 10, 0);
    if (readingA.packet.dontFragment) set16(*bytes, 4, 0);
  }
  return a == b;
}

/// One frame that a coalescer made: which datagrams are in it, and its bytes put together.
struct Made {
  std::vector<size_t> datagrams;
  Bytes bytes;
  size_t gsoBytes = 0;  // 0: not a superframe
};

/// What must hold for any input: every datagram in exactly one frame, order kept where it matters, single datagrams
/// unchanged, and every superframe cut again is the datagrams it was made of.
/// @returns an empty string, or what is wrong
inline std::string violation(const std::vector<Datagram>& list, const std::vector<Made>& made) {
  std::vector<size_t> position(list.size(), list.size());
  size_t next = 0;
  for (const Made& frame : made) {
    for (size_t i : frame.datagrams) {
      if (i >= list.size() || position[i] != list.size()) return "a datagram appears twice";
      position[i] = next++;
    }
  }
  if (next != list.size()) return "a datagram is missing";

  std::vector<Reading> readings;
  for (const Datagram& datagram : list) readings.push_back(read(datagram.bytes));
  for (size_t i = 0; i < list.size(); i++) {
    for (size_t j = i + 1; j < list.size(); j++) {
      if (position[i] < position[j]) continue;
      if (orderMatters(readings[i], list[i].source, readings[j], list[j].source)) return "order was not kept";
    }
  }

  for (const Made& frame : made) {
    const Datagram& first = list[frame.datagrams[0]];
    if (frame.gsoBytes == 0) {
      if (frame.datagrams.size() != 1) return "datagrams were joined without a gso type";
      if (frame.bytes != first.bytes) return "a single datagram was changed";
      continue;
    }
    const Reading whole = read(frame.bytes);
    if (whole.shape != Shape::REGULAR) return "a superframe's lengths do not agree";
    if (!whole.packet.ipv6 && checksum(frame.bytes.data(), 20) != 0xffff) return "a superframe's IPv4 header is wrong";
    if (buildPartial(whole.packet) != frame.bytes) return "a superframe's pseudo-header sum is wrong";
    const std::vector<Bytes> pieces = segment(whole.packet, frame.gsoBytes);
    if (pieces.size() != frame.datagrams.size()) return "a superframe has another number of segments";
    for (size_t i = 0; i < pieces.size(); i++) {
      const Datagram& original = list[frame.datagrams[i]];
      if (original.source != first.source) return "datagrams of two sources were joined";
      if (!equivalent(pieces[i], original.bytes)) return "a superframe cut again is not what it was made of";
    }
  }
  return "";
}

}  // namespace reference
