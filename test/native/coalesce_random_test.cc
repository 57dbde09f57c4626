// coalesce.cc against the packet-at-a-time coalescer with random flows, and against hostile datagrams.
#include "coalesce_check.h"

using namespace selvage;
using check::agree;
using check::ALL_KINDS;
using check::following;
using check::Random;
using check::rule;
using check::transportAt;
using reference::Bytes;
using reference::Datagram;
using reference::Packet;

namespace {

/// A flow that emits its next packet, mostly a sound one.
class RandomFlow {
 public:
  RandomFlow(Random& random, const Packet& first, uint32_t source) : random_(random), packet_(first), source_(source) {
    packet_.payload = random_.bytes(random_.between(1, 60));
    fullPayload_ = packet_.payload.size();
  }

  /// @param irregular may the datagram be one whose ports cannot be read?
  Datagram next(bool irregular) {
    Packet sent = packet_;
    packet_ = following(packet_, random_);
    packet_.payload = random_.bytes(fullPayload_);
    packet_.flags = reference::ACK;
    if (random_.oneIn(8)) disturb(sent);
    Bytes bytes = reference::build(sent);
    if (random_.oneIn(20)) spoil(bytes);
    if (irregular && random_.oneIn(20)) makeIrregular(bytes);
    return {bytes, source_};
  }

 private:
  /// What a sender may do; some of it goes on for the packets after it.
  void disturb(Packet& sent) {
    switch (random_.below(12)) {
      case 0:
        sent.flags |= reference::PSH;
        break;
      case 1:
        sent.flags = random_.byte();
        break;
      case 2:
        sent.payload.resize(random_.below(sent.payload.size() + 1));
        resume(sent);
        break;
      case 3:
        fullPayload_ = random_.between(1, 60);
        break;
      case 4:
        packet_.sequence += static_cast<uint32_t>(random_.below(3));
        break;
      case 5:
        packet_.identification++;
        break;
      case 6:
        packet_.dontFragment = !packet_.dontFragment;
        break;
      case 7:
        packet_.window++;
        break;
      case 8:
        packet_.acknowledgment++;
        break;
      case 9:
        packet_.hopLimit--;
        break;
      case 10:
        if (packet_.tcp) packet_.tcpOptions = random_.bytes(4 * random_.below(11));
        break;
      default:
        sent.payload.push_back(1);
        resume(sent);
        break;
    }
    if (packet_.ipv6) packet_.identification = 0, packet_.dontFragment = true;
  }
  void resume(const Packet& sent) { packet_.sequence = sent.sequence + static_cast<uint32_t>(sent.payload.size()); }

  void spoil(Bytes& bytes) {
    switch (random_.below(3)) {
      case 0:
        bytes.back() ^= 1;
        break;
      case 1:
        bytes[random_.below(bytes.size())] ^= 1;
        bytes[0] = packet_.ipv6 ? 0x60 : 0x45;
        break;
      default:
        if (!packet_.tcp) reference::set16(bytes, transportAt(bytes) + 6, 0);
        break;
    }
    // Neither lengths, protocol nor addresses: those would make it irregular, or of another pair.
    const Bytes sound = reference::build(packet_);
    if (packet_.ipv6) {
      for (size_t at = 6; at < 40; at++) bytes[at] = at == 7 ? bytes[at] : sound[at];
      reference::set16(bytes, 4, static_cast<unsigned>(bytes.size() - 40));
    } else {
      reference::set16(bytes, 2, static_cast<unsigned>(bytes.size()));
      reference::set16(bytes, 6, bytes[6] & 0x40u ? 0x4000 : 0);
      for (size_t at = 9; at < 20; at++) bytes[at] = at == 10 || at == 11 ? bytes[at] : sound[at];
    }
  }

  void makeIrregular(Bytes& bytes) {
    const size_t at = packet_.ipv6 ? 6 : 9;
    switch (random_.below(4)) {
      case 0:
        bytes[at] = 1;
        break;
      case 1:
        bytes[packet_.ipv6 ? 5 : 3]++;
        break;
      case 2:
        bytes.resize(random_.below(bytes.size()));
        break;
      default:
        bytes[packet_.ipv6 ? 4 : 6] ^= 0x20;
        break;
    }
  }

  Random& random_;
  Packet packet_;
  uint32_t source_;
  size_t fullPayload_;
};

/// Flows of one address pair that differ in their ports.
std::vector<RandomFlow> onePair(Random& random) {
  const bool ipv6 = random.oneIn(2);
  const Packet base = check::randomPacket(random, ipv6, true);
  std::vector<RandomFlow> flows;
  for (size_t i = random.between(1, 6); i > 0; i--) {
    Packet packet = check::randomPacket(random, ipv6, random.oneIn(2));
    packet.source = base.source;
    packet.destination = base.destination;
    flows.emplace_back(random, packet, 1);
  }
  return flows;
}

/// Flows of any family, source and address.
std::vector<RandomFlow> anyFlows(Random& random, size_t most) {
  std::vector<RandomFlow> flows;
  for (size_t i = random.between(1, most); i > 0; i--) {
    flows.emplace_back(random, check::randomPacket(random, random.oneIn(2), random.oneIn(2)),
                       static_cast<uint32_t>(random.below(3)));
  }
  return flows;
}

std::vector<Datagram> interleave(Random& random, std::vector<RandomFlow>& flows, size_t count, bool irregular) {
  std::vector<Datagram> list;
  size_t flow = 0;
  while (list.size() < count) {
    if (random.oneIn(3)) flow = random.below(flows.size());
    list.push_back(flows[flow].next(irregular));
  }
  return list;
}

/// What no sender would send.
void makeHostile(Random& random, std::vector<Datagram>& list) {
  for (Datagram& datagram : list) {
    if (!random.oneIn(6)) continue;
    switch (random.below(5)) {
      case 0:
        datagram.bytes = random.bytes(random.below(100));
        break;
      case 1:
        datagram.bytes = list[random.below(list.size())].bytes;
        break;
      case 2:
        datagram.bytes.resize(random.below(datagram.bytes.size() + 1));
        break;
      case 3:
        datagram.source = static_cast<uint32_t>(random.below(3));
        datagram.outerClass = static_cast<uint8_t>(random.below(2));
        break;
      default:
        if (!datagram.bytes.empty())
          datagram.bytes[random.below(std::min(datagram.bytes.size(), size_t{64}))] = random.byte();
    }
  }
}

void randomRules(Random& random) {
  rule("random flows of one address pair, fragments and garbage among them, equal the reference", [&] {
    Coalescer coalescer(256, ALL_KINDS);
    for (size_t i = 0; i < check::scaled(700); i++) {
      auto flows = onePair(random);
      agree(coalescer, interleave(random, flows, random.between(1, 150), true), ALL_KINDS);
    }
  });
  rule("random flows of any family, address and source equal the reference", [&] {
    Coalescer coalescer(256, ALL_KINDS);
    for (size_t i = 0; i < check::scaled(700); i++) {
      auto flows = anyFlows(random, 12);
      agree(coalescer, interleave(random, flows, random.between(1, 150), false), ALL_KINDS);
    }
  });
  rule("random kinds equal the reference", [&] {
    for (size_t i = 0; i < check::scaled(500); i++) {
      const uint32_t kinds = static_cast<uint32_t>(random.below(16));
      Coalescer coalescer(256, kinds);
      auto flows = anyFlows(random, 8);
      agree(coalescer, interleave(random, flows, random.between(1, 100), false), kinds);
    }
  });
  rule("order within a flow is kept and no byte is lost, with hostile datagrams among many flows", [&] {
    Coalescer coalescer(256, ALL_KINDS);
    for (size_t i = 0; i < check::scaled(700); i++) {
      auto flows = anyFlows(random, 40);
      auto list = interleave(random, flows, random.between(1, 256), true);
      makeHostile(random, list);
      const check::Outcome outcome = check::coalesce(coalescer, list);
      CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
    }
  });
  rule("with so many flows that some lose their place in the table, most still join and all keep their order", [&] {
    constexpr size_t FLOWS = 400;
    constexpr size_t FOLLOWING = 112;
    Coalescer coalescer(FLOWS + FOLLOWING, ALL_KINDS);
    for (size_t i = 0; i < check::scaled(40); i++) {
      std::vector<Datagram> list(FLOWS + FOLLOWING);
      for (size_t flow = 0; flow < FLOWS; flow++) {
        Packet packet = check::randomPacket(random, random.oneIn(2), false);
        packet.payload = random.bytes(8);
        list[flow] = {reference::build(packet), 1};
        if (flow < FOLLOWING) list[flow + FLOWS] = {reference::build(following(packet, random)), 1};
      }
      const check::Outcome outcome = check::coalesce(coalescer, list);
      CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
      CHECK(outcome.made.size() <= FLOWS + FOLLOWING / 5);
    }
  });
}

}  // namespace

int main() {
  Random random = Random::fromEnvironment();
  randomRules(random);
  return check::finish();
}
