// segment.cc and coalesce.cc undo each other: coalesce(segment(x)) == x and segment(coalesce(list)) == list.
#include "../../native/segment.h"
#include "burst.h"
#include "check.h"
#include "random.h"

using namespace selvage;
using check::Random;
using check::rule;
using reference::Bytes;
using reference::Datagram;
using reference::Packet;

namespace {

constexpr uint32_t ALL_KINDS = COALESCE_TCP4 | COALESCE_TCP6 | COALESCE_UDP4 | COALESCE_UDP6;

/// The segments of a superframe by segment.cc; none when it is refused.
std::vector<Bytes> segment(const VnetHeader& vnet, const Bytes& frame) {
  std::vector<Bytes> out;
  SegmentPlan plan;
  const int segments = planSegments(vnet, frame.data(), static_cast<uint32_t>(frame.size()), &plan);
  CHECK(segments > 0);
  for (uint32_t i = 0; segments > 0 && i < plan.segments; i++) {
    Bytes bytes(plan.headerBytes);
    const uint8_t* payload = nullptr;
    const uint32_t count = stampSegment(plan, i, bytes.data(), &payload);
    bytes.insert(bytes.end(), payload, payload + count);
    out.push_back(std::move(bytes));
  }
  return out;
}

/// A superframe as the kernel gives it, of 2 to 64 segments of gsoBytes.
Packet randomSuperframe(Random& random, bool ipv6, bool tcp, size_t* gsoBytes) {
  Packet packet = check::randomPacket(random, ipv6, tcp);
  packet.flags = random.oneIn(2) ? reference::ACK : reference::ACK | reference::PSH;
  *gsoBytes = random.oneIn(10) ? 1432 : random.between(1, 300);
  const size_t most = std::min(64 * *gsoBytes, 65535 - reference::headerBytes(packet));
  packet.payload = random.bytes(random.between(*gsoBytes + 1, most));
  return packet;
}

void superframeComesBack(Random& random, Coalescer& coalescer, bool ipv6, bool tcp) {
  size_t gsoBytes = 0;
  const Packet packet = randomSuperframe(random, ipv6, tcp, &gsoBytes);
  const Bytes frame = reference::buildPartial(packet);
  Packet first = packet;
  first.payload.resize(gsoBytes);
  const VnetHeader vnet = check::superframeVnet(first);

  std::vector<Datagram> list;
  for (Bytes& bytes : segment(vnet, frame)) list.push_back({std::move(bytes), 1});
  const check::Outcome outcome = check::coalesce(coalescer, list);
  CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
  CHECK(outcome.made.size() == 1);
  CHECK(outcome.made[0].bytes == frame);
  CHECK(check::sameVnet(coalescer.frame(0).vnet, vnet));
}

/// Flows whose identifications follow on and whose segments are now and then short or pushed.
std::vector<Datagram> randomList(Random& random) {
  std::vector<Packet> flows;
  for (size_t i = random.between(1, 10); i > 0; i--) {
    flows.push_back(check::randomPacket(random, random.oneIn(2), random.oneIn(2)));
  }
  std::vector<Datagram> list;
  for (size_t i = random.between(1, 200); i > 0; i--) {
    Packet& packet = flows[random.below(flows.size())];
    packet.payload = random.bytes(random.oneIn(6) ? random.between(1, 100) : 100);
    packet.flags = random.oneIn(10) ? reference::ACK | reference::PSH : reference::ACK;
    list.push_back({reference::build(packet), 1});
    packet.sequence += static_cast<uint32_t>(packet.payload.size());
    if (!packet.ipv6) packet.identification++;
  }
  return list;
}

void listComesBack(Random& random, Coalescer& coalescer) {
  const std::vector<Datagram> list = randomList(random);
  const check::Outcome outcome = check::coalesce(coalescer, list);
  CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
  for (size_t i = 0; i < outcome.made.size(); i++) {
    const reference::Made& made = outcome.made[i];
    if (made.gsoBytes == 0) continue;
    const std::vector<Bytes> segments = segment(coalescer.frame(static_cast<uint32_t>(i)).vnet, made.bytes);
    CHECK(segments.size() == made.datagrams.size());
    for (size_t s = 0; s < std::min(segments.size(), made.datagrams.size()); s++) {
      CHECK(segments[s] == list[made.datagrams[s]].bytes);
    }
  }
}

}  // namespace

int main() {
  Random random = Random::fromEnvironment();
  Coalescer coalescer(256, ALL_KINDS);
  for (const bool ipv6 : {false, true}) {
    for (const bool tcp : {true, false}) {
      const std::string family = std::string(tcp ? "TCP" : "UDP") + " over " + (ipv6 ? "IPv6" : "IPv4");
      rule("coalesce(segment(x)) == x for " + family, [&] {
        for (size_t i = 0; i < check::scaled(500); i++) superframeComesBack(random, coalescer, ipv6, tcp);
      });
    }
  }
  rule("segment(coalesce(list)) == list for interleaved flows", [&] {
    for (size_t i = 0; i < check::scaled(800); i++) listComesBack(random, coalescer);
  });
  return check::finish();
}
