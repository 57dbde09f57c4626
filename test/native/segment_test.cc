// segment.cc against a segmenter that builds each packet anew, and its checksum completion.
#include <cerrno>

#include "segment_check.h"

using namespace selvage;
using check::plan;
using check::Random;
using check::randomSuperframe;
using check::rule;
using check::sample;
using check::vnetFor;
using reference::Bytes;
using reference::Packet;

namespace {

/// Stamps all segments and puts each together. The header lies in an allocation of exactly its size.
std::vector<Bytes> cut(const SegmentPlan& plan) {
  std::vector<Bytes> out;
  for (uint32_t i = 0; i < plan.segments; i++) {
    Bytes segment(plan.headerBytes);
    const uint8_t* payload = nullptr;
    const uint32_t bytes = stampSegment(plan, i, segment.data(), &payload);
    segment.insert(segment.end(), payload, payload + bytes);
    out.push_back(std::move(segment));
  }
  return out;
}

/// Plans and cuts a superframe into a known number of segments.
std::vector<Bytes> cutInto(int segments, const VnetHeader& vnet, const Bytes& frame) {
  SegmentPlan planned;
  const int result = plan(vnet, frame, &planned);
  CHECK(result == segments);
  return result < 0 ? std::vector<Bytes>(static_cast<size_t>(segments), frame) : cut(planned);
}

/// Plans and cuts a superframe that must be accepted, and compares it with the reference.
void cutsLikeReference(const Packet& packet, size_t gsoBytes, const Bytes& frame) {
  SegmentPlan planned;
  const std::vector<Bytes> expected = reference::segment(packet, gsoBytes);
  const int segments = plan(vnetFor(packet, gsoBytes), frame, &planned);
  CHECK(segments == static_cast<int>(expected.size()));
  if (segments < 0) return;
  CHECK(planned.segments == expected.size());
  CHECK(planned.headerBytes + planned.payloadBytes == expected[0].size());
  CHECK(cut(planned) == expected);
}

void cutsLikeReference(const Packet& packet, size_t gsoBytes) {
  cutsLikeReference(packet, gsoBytes, reference::buildPartial(packet));
}

void randomSuperframes(Random& random, bool ipv6, bool tcp) {
  for (size_t i = 0; i < check::scaled(2000); i++) {
    const Packet packet = randomSuperframe(random, ipv6, tcp);
    const size_t gsoBytes = random.between(packet.payload.size() / 70 + 1, packet.payload.size() + 10);
    cutsLikeReference(packet, std::min(gsoBytes, size_t{60000}));
  }
}

const std::vector<std::pair<bool, bool>> FAMILIES = {{false, true}, {true, true}, {false, false}, {true, false}};

void namedRules() {
  rule("IPv4 identification goes up by one and wraps", [] {
    Packet packet = sample(false, true);
    packet.identification = 0xfffe;
    const std::vector<Bytes> segments = cutInto(4, vnetFor(packet, 100), reference::buildPartial(packet));
    for (unsigned i = 0; i < 4; i++) CHECK(reference::get16(segments[i], 4) == ((0xfffe + i) & 0xffff));
    CHECK(segments == reference::segment(packet, 100));
  });
  rule("the TCP sequence number wraps", [] {
    Packet packet = sample(false, true);
    packet.sequence = 0xffffff9c;
    const std::vector<Bytes> segments = cutInto(4, vnetFor(packet, 100), reference::buildPartial(packet));
    CHECK(reference::get32(segments[1], 24) == 0);
    CHECK(reference::get32(segments[3], 24) == 200);
  });
  rule("FIN and PSH are on the last segment only, CWR on the first only, the other flags on all", [] {
    Packet packet = sample(true, true);
    packet.flags = 0xff;
    const std::vector<Bytes> segments = cutInto(4, vnetFor(packet, 100), reference::buildPartial(packet));
    const unsigned expected[] = {0xf6, 0x76, 0x76, 0x7f};
    for (size_t i = 0; i < 4; i++) CHECK(segments[i][53] == expected[i]);
  });
  rule("the ECN bit beside the gso type changes nothing", [] {
    const Packet packet = sample(false, true);
    VnetHeader vnet = vnetFor(packet, 100);
    vnet.gsoType |= VNET_GSO_ECN;
    CHECK(cutInto(4, vnet, reference::buildPartial(packet)) == reference::segment(packet, 100));
  });
  rule("a payload no longer than gsoBytes is one segment", [] {
    for (const auto& [ipv6, tcp] : FAMILIES) {
      for (const size_t gsoBytes : {350u, 351u, 65535u}) cutsLikeReference(sample(ipv6, tcp), gsoBytes);
    }
  });
  rule("a superframe without payload is one segment", [] {
    for (const auto& [ipv6, tcp] : FAMILIES) {
      Packet packet = sample(ipv6, tcp);
      packet.payload.clear();
      cutsLikeReference(packet, 100);
    }
  });
  rule("a payload that divides evenly has no short last segment, one byte more has", [] {
    for (const auto& [ipv6, tcp] : FAMILIES) {
      Packet packet = sample(ipv6, tcp);
      for (const size_t payload : {299u, 300u, 301u}) {
        packet.payload.resize(payload);
        cutsLikeReference(packet, 100);
      }
    }
  });
  rule("segments of one byte", [] {
    for (const auto& [ipv6, tcp] : FAMILIES) cutsLikeReference(sample(ipv6, tcp), 1);
  });
  rule("the longest superframes: 65535 bytes of IPv4, 40 + 65535 of IPv6", [] {
    for (const auto& [ipv6, tcp] : FAMILIES) {
      Packet packet = sample(ipv6, tcp);
      packet.payload = Random(9).bytes((ipv6 ? 65575 : 65535) - reference::headerBytes(packet));
      cutsLikeReference(packet, 1432);
      Bytes longer = reference::buildPartial(packet);
      longer.resize(MAX_SUPERFRAME_BYTES + 1);
      SegmentPlan planned;
      CHECK(plan(vnetFor(packet, 1432), longer, &planned) == -EINVAL);
    }
  });
  rule("the frame's own length fields and checksums are not read", [] {
    for (const auto& [ipv6, tcp] : FAMILIES) {
      const Packet packet = sample(ipv6, tcp);
      for (const unsigned garbage : {0u, 1u, 0xffffu}) {
        Bytes frame = reference::buildPartial(packet);
        reference::set16(frame, ipv6 ? 4 : 2, garbage);
        if (!ipv6) reference::set16(frame, 10, garbage);
        if (!tcp) reference::set16(frame, reference::ipHeaderBytes(packet) + 4, garbage);
        reference::set16(frame, reference::checksumAt(packet), garbage);
        cutsLikeReference(packet, 100, frame);
      }
    }
  });
  rule("a UDP checksum that comes out as 0 is sent as ffff", [] {
    for (const bool ipv6 : {false, true}) {
      Packet packet = sample(ipv6, false);
      packet.payload.assign(200, 0);
      const Bytes probe = reference::segment(packet, 100)[0];
      // What the checksum was goes into the payload: the sum is then all ones, its complement 0.
      const unsigned was = reference::get16(probe, reference::checksumAt(packet));
      reference::set16(packet.payload, 0, was);
      const std::vector<Bytes> segments = cutInto(2, vnetFor(packet, 100), reference::buildPartial(packet));
      CHECK(reference::get16(segments[0], reference::checksumAt(packet)) == 0xffff);
      CHECK(segments == reference::segment(packet, 100));
    }
  });
  rule("the virtio-net headerBytes is only a hint", [] {
    const Packet packet = sample(false, true);
    VnetHeader vnet = vnetFor(packet, 100);
    for (const unsigned hint : {0u, 1u, 20u, 65535u}) {
      vnet.headerBytes = static_cast<uint16_t>(hint);
      CHECK(cutInto(4, vnet, reference::buildPartial(packet)) == reference::segment(packet, 100));
    }
  });
}

VnetHeader checksumOnly(size_t start, size_t offset) {
  return {VNET_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, static_cast<uint16_t>(start), static_cast<uint16_t>(offset)};
}

int complete(const VnetHeader& vnet, Bytes& frame) {
  return finishChecksum(vnet, frame.data(), static_cast<uint32_t>(frame.size()));
}

void checksumRules(Random& random) {
  rule("completing the checksum gives the packet that the reference builds", [&] {
    for (size_t i = 0; i < check::scaled(4000); i++) {
      const Packet packet = randomSuperframe(random, random.oneIn(2), random.oneIn(2));
      Bytes frame = reference::buildPartial(packet);
      Bytes expected = reference::build(packet);
      const size_t start = reference::ipHeaderBytes(packet);
      const size_t at = reference::checksumAt(packet);
      if (reference::get16(expected, at) == 0) reference::set16(expected, at, 0xffff);
      CHECK(complete(checksumOnly(start, at - start), frame) == 0);
      CHECK(frame == expected);
    }
  });
  rule("without NEEDS_CSUM nothing is completed", [] {
    const Packet packet = sample(false, true);
    Bytes frame = reference::buildPartial(packet);
    VnetHeader vnet = checksumOnly(20, 16);
    vnet.flags = 0;
    CHECK(complete(vnet, frame) == 0);
    CHECK(frame == reference::buildPartial(packet));
  });
  rule("a checksum of 0 is completed as ffff", [] {
    Packet packet = sample(false, false);
    packet.payload.assign(2, 0);
    const Bytes probe = reference::build(packet);
    reference::set16(packet.payload, 0, reference::get16(probe, 26));
    Bytes frame = reference::buildPartial(packet);
    CHECK(complete(checksumOnly(20, 6), frame) == 0);
    CHECK(reference::get16(frame, 26) == 0xffff);
  });
  rule("the last two bytes may be the checksum field, one byte fewer may not", [] {
    Bytes frame = reference::build(sample(false, false));
    frame.resize(28);
    CHECK(complete(checksumOnly(20, 6), frame) == 0);
    frame.resize(27);
    frame.shrink_to_fit();
    const Bytes before = frame;
    CHECK(complete(checksumOnly(20, 6), frame) == -EINVAL);
    CHECK(frame == before);
  });
  rule("rejected: a checksum field outside the frame or inside the IP header", [] {
    for (const bool ipv6 : {false, true}) {
      const Bytes original = reference::build(sample(ipv6, true));
      const size_t ip = ipv6 ? 40 : 20;
      const std::pair<size_t, size_t> wrong[] = {
          {0, 0},     {0, 16}, {12, 0}, {ip - 1, 16}, {65535, 65535}, {original.size(), 0}, {original.size() - 1, 0},
          {ip, 65535}};
      for (const auto& [start, offset] : wrong) {
        Bytes frame = original;
        CHECK(complete(checksumOnly(start, offset), frame) == -EINVAL);
        CHECK(frame == original);
      }
    }
  });
  rule("rejected: a checksum inside IPv4 options", [] {
    Packet packet = sample(false, true);
    packet.ipOptions.assign(8, 1);
    Bytes frame = reference::build(packet);
    CHECK(complete(checksumOnly(20, 6), frame) == -EINVAL);
    CHECK(complete(checksumOnly(28, 16), frame) == 0);
  });
  rule("rejected: an empty frame, and frames too short for an IP header", [] {
    for (size_t count = 0; count < 20; count++) {
      Bytes frame(count, 0x40);
      CHECK(complete(checksumOnly(0, 0), frame) == -EINVAL);
      CHECK(complete(checksumOnly(count, 0), frame) == -EINVAL);
    }
  });
  rule("completing random checksums touches only the field", [&] {
    for (size_t i = 0; i < check::scaled(20000); i++) {
      Bytes frame = random.bytes(random.below(100));
      const Bytes before = frame;
      const VnetHeader vnet = checksumOnly(random.below(120), random.below(60));
      const int result = complete(vnet, frame);
      for (size_t at = 0; at < frame.size(); at++) {
        const size_t field = size_t{vnet.csumStart} + vnet.csumOffset;
        const bool inField = result == 0 && (at == field || at == field + 1);
        CHECK(inField || frame[at] == before[at]);
      }
    }
  });
}

}  // namespace

int main() {
  Random random = Random::fromEnvironment();
  for (const auto& [ipv6, tcp] : FAMILIES) {
    const std::string family = std::string(tcp ? "TCP" : "UDP") + " over " + (ipv6 ? "IPv6" : "IPv4");
    rule("random superframes of " + family + " are cut as the reference cuts them",
         [&, v6 = ipv6, t = tcp] { randomSuperframes(random, v6, t); });
  }
  namedRules();
  checksumRules(random);
  return check::finish();
}
