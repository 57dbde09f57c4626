// The one seeded generator of the native tests, and packets made with it.
//   TEST_SEED   a number; printed, and by default taken from the clock
//   TEST_SCALE  per cent of the usual number of random cases (default 100): emulated runs take less
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "../reference/packet.h"

namespace check {

inline uint64_t environmentNumber(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == 0 ? otherwise : std::strtoull(text, nullptr, 10);
}

/// `usual` cases, scaled, and at least one.
inline size_t scaled(size_t usual) {
  const size_t cases = usual * environmentNumber("TEST_SCALE", 100) / 100;
  return cases == 0 ? 1 : cases;
}

/// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  /// Seeded from TEST_SEED; prints the seed as a TAP comment.
  static Random fromEnvironment() {
    const auto clock = std::chrono::system_clock::now().time_since_epoch().count();
    const uint64_t seed = environmentNumber("TEST_SEED", static_cast<uint64_t>(clock) / 1000 % 1000000007);
    std::printf("# TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return Random(seed);
  }

  uint64_t next() {
    uint64_t value = state_ += 0x9e3779b97f4a7c15ull;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    return value ^ value >> 31;
  }

  /// 0 to bound - 1
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }
  size_t between(size_t least, size_t most) { return least + below(most - least + 1); }
  bool oneIn(size_t count) { return below(count) == 0; }
  uint8_t byte() { return static_cast<uint8_t>(next()); }
  uint16_t word() { return static_cast<uint16_t>(next()); }
  uint32_t dword() { return static_cast<uint32_t>(next()); }

  reference::Bytes bytes(size_t count) {
    reference::Bytes out(count);
    for (uint8_t& value : out) value = byte();
    return out;
  }

 private:
  uint64_t state_;
};

/// A packet with random header fields and no payload; IPv4 without options, IPv6 without extension headers.
inline reference::Packet randomPacket(Random& random, bool ipv6, bool tcp) {
  reference::Packet packet;
  packet.ipv6 = ipv6;
  packet.tcp = tcp;
  for (size_t i = 0; i < (ipv6 ? 16u : 4u); i++) {
    packet.source[i] = random.byte();
    packet.destination[i] = random.byte();
  }
  packet.trafficClass = random.byte();
  packet.hopLimit = random.byte();
  packet.flowLabel = ipv6 ? random.dword() & 0xfffff : 0;
  packet.identification = ipv6 ? uint16_t{0} : random.word();
  packet.dontFragment = random.oneIn(2);
  packet.sourcePort = random.word();
  packet.destinationPort = random.word();
  if (!tcp) return packet;
  packet.sequence = random.oneIn(4) ? 0xffffffff - static_cast<uint32_t>(random.below(5000)) : random.dword();
  packet.acknowledgment = random.dword();
  packet.window = random.word();
  packet.urgent = random.word();
  packet.tcpOptions = random.bytes(4 * random.below(11));
  return packet;
}

}  // namespace check
