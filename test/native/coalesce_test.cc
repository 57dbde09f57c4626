// coalesce.cc: its rules by name, then against a packet-at-a-time coalescer, then against hostile datagrams.
#include "../../native/coalesce.h"

#include <functional>

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

using Groups = std::vector<std::vector<size_t>>;

constexpr uint32_t ALL_KINDS = COALESCE_TCP4 | COALESCE_TCP6 | COALESCE_UDP4 | COALESCE_UDP6;
constexpr size_t PAYLOAD = 100;

struct Family {
  const char* name;
  bool ipv6;
  bool tcp;
};
constexpr Family FAMILIES[] = {
    {"TCP over IPv4", false, true}, {"TCP over IPv6", true, true}, {"UDP over IPv4", false, false}, {"UDP over IPv6", true, false}};

/// The packet that follows `packet` in its flow.
Packet following(const Packet& packet, Random& random) {
  Packet next = packet;
  next.sequence += static_cast<uint32_t>(packet.payload.size());
  if (!packet.ipv6) next.identification++;
  next.payload = random.bytes(packet.payload.size());
  return next;
}

/// Consecutive packets of one flow.
std::vector<Packet> stream(const Family& family, size_t count, size_t payload = PAYLOAD) {
  Random random(count);
  Packet packet = check::randomPacket(random, family.ipv6, family.tcp);
  packet.dontFragment = false;
  packet.payload = random.bytes(payload);
  std::vector<Packet> out;
  for (; out.size() < count; packet = following(packet, random)) out.push_back(packet);
  return out;
}

std::vector<Datagram> datagrams(const std::vector<Packet>& packets, uint32_t source = 1) {
  std::vector<Datagram> out;
  for (const Packet& packet : packets) out.push_back({reference::build(packet), source});
  return out;
}

Groups groupsOf(const std::vector<reference::Made>& made) {
  Groups out;
  for (const reference::Made& frame : made) out.push_back(frame.datagrams);
  return out;
}

std::string print(const Groups& groups) {
  std::string out;
  for (const auto& group : groups) {
    out += "{";
    for (size_t i : group) out += " " + std::to_string(i);
    out += " }";
  }
  return out;
}

/// Runs a burst and holds it against the reference: same frames, same bytes.
std::vector<reference::Made> agree(Coalescer& coalescer, const std::vector<Datagram>& list, uint32_t kinds) {
  const check::Outcome outcome = check::coalesce(coalescer, list);
  const std::vector<reference::Frame> expected = reference::coalesce(list, kinds);
  CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
  Groups groups;
  for (const reference::Frame& frame : expected) groups.push_back(frame.datagrams);
  CHECK_CASE(groupsOf(outcome.made) == groups, print(groupsOf(outcome.made)) + ", reference " + print(groups));
  if (groupsOf(outcome.made) != groups) return outcome.made;
  for (size_t i = 0; i < expected.size(); i++) {
    const bool single = expected[i].datagrams.size() == 1;
    const Bytes bytes = single ? list[expected[i].datagrams[0]].bytes : reference::superframe(expected[i], list);
    CHECK(outcome.made[i].bytes == bytes);
  }
  return outcome.made;
}

/// Runs a burst and expects these frames, of the coalescer and of the reference.
void expect(const std::vector<Datagram>& list, const Groups& groups, uint32_t kinds = ALL_KINDS) {
  Coalescer coalescer(static_cast<uint32_t>(list.size()), kinds);
  const Groups made = groupsOf(agree(coalescer, list, kinds));
  CHECK_CASE(made == groups, print(made) + ", expected " + print(groups));
}

/// A rule that holds for all families, or for those that `applies` names.
void familyRule(const std::string& name, const std::function<void(const Family&)>& body,
                const std::function<bool(const Family&)>& applies = [](const Family&) { return true; }) {
  for (const Family& family : FAMILIES) {
    if (applies(family)) rule(name + " (" + family.name + ")", [&] { body(family); });
  }
}

bool isTcp(const Family& family) { return family.tcp; }
bool isIpv4(const Family& family) { return !family.ipv6; }
bool isIpv6(const Family& family) { return family.ipv6; }
bool isUdp(const Family& family) { return !family.tcp; }

void joiningRules() {
  familyRule("consecutive segments become one superframe", [](const Family& family) {
    expect(datagrams(stream(family, 5)), {{0, 1, 2, 3, 4}});
  });
  familyRule("a short last segment ends the chain", [](const Family& family) {
    auto packets = stream(family, 4);
    packets[1].payload.resize(PAYLOAD - 1);
    packets[2].sequence -= 1;
    packets[3].sequence -= 1;
    expect(datagrams(packets), {{0, 1}, {2, 3}});
  });
  familyRule("a longer segment begins a new chain", [](const Family& family) {
    auto packets = stream(family, 3, PAYLOAD);
    packets[0].payload.resize(PAYLOAD - 1);
    packets[0].sequence += 1;
    expect(datagrams(packets), {{0}, {1, 2}});
  });
  familyRule("PSH ends the chain and is set on the superframe", [](const Family& family) {
    auto packets = stream(family, 4);
    packets[1].flags = reference::ACK | reference::PSH;
    expect(datagrams(packets), {{0, 1}, {2, 3}});
    packets[0].flags = reference::ACK | reference::PSH;
    packets[1].flags = reference::ACK;
    expect(datagrams(packets), {{0}, {1, 2, 3}});
  }, isTcp);
  familyRule("64 datagrams are one superframe, the 65th begins the next", [](const Family& family) {
    Groups groups(2);
    for (size_t i = 0; i < 65; i++) groups[i / 64].push_back(i);
    expect(datagrams(stream(family, 65)), groups);
  });
  familyRule("65535 bytes are one superframe, one byte more is not", [](const Family& family) {
    const size_t header = reference::headerBytes(stream(family, 2)[0]);
    for (const size_t more : {0u, 1u}) {
      const size_t payload = 65535 - header + more;
      auto packets = stream(family, 2, (payload + 1) / 2);
      packets[1].payload.resize(payload / 2);
      expect(datagrams(packets), more == 0 ? Groups{{0, 1}} : Groups{{0}, {1}});
    }
  });
  familyRule("the TCP sequence number may wrap", [](const Family& family) {
    auto packets = stream(family, 3);
    for (size_t i = 0; i < 3; i++) packets[i].sequence = static_cast<uint32_t>(0xffffff9c + 100 * i);
    expect(datagrams(packets), {{0, 1, 2}});
  }, isTcp);
  familyRule("the IPv4 identification may wrap", [](const Family& family) {
    auto packets = stream(family, 3);
    for (size_t i = 0; i < 3; i++) packets[i].identification = static_cast<uint16_t>(0xffff + i);
    expect(datagrams(packets), {{0, 1, 2}});
  }, isIpv4);
  familyRule("with DF the IPv4 identification does not matter", [](const Family& family) {
    auto packets = stream(family, 3);
    for (size_t i = 0; i < 3; i++) {
      packets[i].dontFragment = true;
      packets[i].identification = static_cast<uint16_t>(7 * i * i);
    }
    expect(datagrams(packets), {{0, 1, 2}});
  }, isIpv4);
  familyRule("flows that are interleaved join each their own, in the order of their first datagrams",
             [](const Family& family) {
    const auto a = stream(family, 4);
    auto b = stream(family, 4);
    for (Packet& packet : b) packet.sourcePort ^= 1;
    expect(datagrams({a[0], b[0], b[1], a[1], a[2], b[2], a[3], b[3]}), {{0, 3, 4, 6}, {1, 2, 5, 7}});
  });
  rule("TCP and UDP with equal addresses and ports are two flows", [] {
    const auto a = stream(FAMILIES[0], 2);
    auto b = a;
    for (Packet& packet : b) packet.tcp = false, packet.tcpOptions.clear();
    expect(datagrams({a[0], b[0], a[1], b[1]}), {{0, 2}, {1, 3}});
  });
  familyRule("datagrams of two sources are never joined", [](const Family& family) {
    auto list = datagrams(stream(family, 4));
    list[1].source = list[3].source = 2;
    for (size_t i = 0; i < 4; i++) list[i].bytes = datagrams(stream(family, 4))[i / 2].bytes;
    expect(list, {{0, 2}, {1, 3}});
  });
  familyRule("a kind that is off passes alone, the others join", [](const Family& family) {
    for (const Family& other : FAMILIES) {
      const bool same = other.ipv6 == family.ipv6 && other.tcp == family.tcp;
      const uint32_t off = reference::kindOf(stream(family, 1)[0]);
      expect(datagrams(stream(other, 3)), same ? Groups{{0}, {1}, {2}} : Groups{{0, 1, 2}}, ALL_KINDS & ~off);
    }
  });
}

/// From the second packet on the flow looks different: two chains.
void differenceRule(const char* what, const std::function<void(Packet&)>& change,
                    const std::function<bool(const Family&)>& applies) {
  familyRule(std::string("another ") + what + " begins a new chain", [&](const Family& family) {
    auto packets = stream(family, 3);
    for (Packet& packet : packets) packet.tcpOptions.assign(family.tcp ? 12 : 0, 1);
    change(packets[1]);
    change(packets[2]);
    expect(datagrams(packets), {{0}, {1, 2}});
  }, applies);
}

void differenceRules() {
  const auto all = [](const Family&) { return true; };
  differenceRule("source address", [](Packet& p) { p.source[3] ^= 1; }, all);
  differenceRule("last byte of the source address", [](Packet& p) { p.source[15] ^= 1; }, isIpv6);
  differenceRule("destination address", [](Packet& p) { p.destination[0] ^= 0x80; }, all);
  differenceRule("last byte of the destination address", [](Packet& p) { p.destination[15] ^= 1; }, isIpv6);
  differenceRule("source port", [](Packet& p) { p.sourcePort ^= 0x100; }, all);
  differenceRule("destination port", [](Packet& p) { p.destinationPort ^= 1; }, all);
  differenceRule("TOS or traffic class", [](Packet& p) { p.trafficClass ^= 1; }, all);
  differenceRule("traffic class in its upper half", [](Packet& p) { p.trafficClass ^= 0x80; }, isIpv6);
  differenceRule("TTL or hop limit", [](Packet& p) { p.hopLimit ^= 1; }, all);
  differenceRule("DF", [](Packet& p) { p.dontFragment = true; }, isIpv4);
  differenceRule("flow label", [](Packet& p) { p.flowLabel ^= 0x80000; }, isIpv6);
  differenceRule("flow label in its last bit", [](Packet& p) { p.flowLabel ^= 1; }, isIpv6);
  differenceRule("acknowledgment number", [](Packet& p) { p.acknowledgment ^= 1; }, isTcp);
  differenceRule("window", [](Packet& p) { p.window ^= 0x100; }, isTcp);
  differenceRule("urgent pointer", [](Packet& p) { p.urgent ^= 1; }, isTcp);
  differenceRule("option byte", [](Packet& p) { p.tcpOptions[11] ^= 1; }, isTcp);
  differenceRule("option length", [](Packet& p) { p.tcpOptions.resize(8); }, isTcp);
  differenceRule("sequence number than the next, a gap,", [](Packet& p) { p.sequence += 1; }, isTcp);
  differenceRule("sequence number than the next, an overlap,", [](Packet& p) { p.sequence -= 1; }, isTcp);
  differenceRule("sequence number than the next, 2^31 off,", [](Packet& p) { p.sequence ^= 0x80000000; }, isTcp);
  differenceRule("identification than the next", [](Packet& p) { p.identification++; }, isIpv4);
  familyRule("a repeated datagram begins a new chain", [](const Family& family) {
    const auto packets = stream(family, 2);
    const bool sequenced = family.tcp || !family.ipv6;
    expect(datagrams({packets[0], packets[0]}), sequenced ? Groups{{0}, {1}} : Groups{{0, 1}});
  });
}

/// The second of four datagrams is changed so that it must pass alone, and ends the chain that was open.
void aloneRule(const std::string& what, const std::function<void(Packet&)>& changePacket,
               const std::function<void(Bytes&)>& changeBytes, const std::function<bool(const Family&)>& applies) {
  familyRule(what + " goes alone and unchanged, and ends the chain", [&](const Family& family) {
    auto packets = stream(family, 5);
    changePacket(packets[2]);
    auto list = datagrams(packets);
    changeBytes(list[2].bytes);
    expect(list, {{0, 1}, {2}, {3, 4}});
  }, applies);
}

size_t transportAt(const Bytes& bytes) { return bytes[0] >> 4 == 6 ? 40 : 20; }

void alonePacket(const std::string& what, const std::function<void(Packet&)>& change,
                 const std::function<bool(const Family&)>& applies) {
  aloneRule(what, change, [](Bytes&) {}, applies);
}

void aloneBytes(const std::string& what, const std::function<void(Bytes&)>& change,
                const std::function<bool(const Family&)>& applies = [](const Family&) { return true; }) {
  aloneRule(what, [](Packet&) {}, change, applies);
}

void aloneRules() {
  const std::pair<const char*, unsigned> flags[] = {{"FIN", reference::FIN}, {"SYN", reference::SYN},
                                                    {"RST", reference::RST}, {"URG", reference::URG},
                                                    {"ECE", reference::ECE}, {"CWR", reference::CWR}};
  for (const auto& [name, bit] : flags) {
    alonePacket(std::string("a segment with ") + name,
                [bit = bit](Packet& p) { p.flags = static_cast<uint8_t>(reference::ACK | bit); }, isTcp);
  }
  alonePacket("a segment without ACK", [](Packet& p) { p.flags = 0; }, isTcp);
  alonePacket("a segment with a reserved bit", [](Packet& p) { p.reserved = 1; }, isTcp);
  alonePacket("a segment without payload", [](Packet& p) { p.payload.clear(); }, isTcp);
  alonePacket("a datagram without payload", [](Packet& p) { p.payload.clear(); }, isUdp);
  aloneBytes("a wrong checksum", [](Bytes& b) { b[transportAt(b) + 7] ^= 1; }, isTcp);
  aloneBytes("a wrong last payload byte", [](Bytes& b) { b.back() ^= 1; });
  aloneBytes("a wrong first payload byte", [](Bytes& b) { b[b.size() - PAYLOAD] ^= 1; });
  aloneBytes("a wrong IPv4 header checksum", [](Bytes& b) { b[11] ^= 1; }, isIpv4);
  aloneBytes("a datagram without checksum", [](Bytes& b) { reference::set16(b, transportAt(b) + 6, 0); }, isUdp);
  aloneBytes("a UDP length one too short",
             [](Bytes& b) { reference::set16(b, transportAt(b) + 4, 8 + PAYLOAD - 1); }, isUdp);
  aloneBytes("a UDP length one too long",
             [](Bytes& b) { reference::set16(b, transportAt(b) + 4, 8 + PAYLOAD + 1); }, isUdp);
  aloneBytes("a TCP data offset of 4", [](Bytes& b) { b[transportAt(b) + 12] = 0x40; }, isTcp);
  aloneBytes("a TCP data offset past the end",
             [](Bytes& b) { b[transportAt(b) + 12] = 0xf0; b.resize(transportAt(b) + 40);
                            reference::set16(b, b[0] >> 4 == 6 ? 4 : 2, b[0] >> 4 == 6 ? 40 : 60); }, isTcp);
  aloneBytes("a first fragment", [](Bytes& b) { b[6] |= 0x20; }, isIpv4);
  aloneBytes("a later fragment", [](Bytes& b) { b[7] = 5; }, isIpv4);
  aloneBytes("the reserved flag of IPv4", [](Bytes& b) { b[6] |= 0x80; }, isIpv4);
  aloneBytes("a total length one too short", [](Bytes& b) { b[3]--; }, isIpv4);
  aloneBytes("a total length one too long", [](Bytes& b) { b[3]++; }, isIpv4);
  aloneBytes("a payload length one too short", [](Bytes& b) { b[5]--; }, isIpv6);
  aloneBytes("a payload length one too long", [](Bytes& b) { b[5]++; }, isIpv6);
  aloneBytes("another protocol between the same addresses", [](Bytes& b) { b[9] = 1; }, isIpv4);
  aloneBytes("another next header between the same addresses", [](Bytes& b) { b[6] = 58; }, isIpv6);
  aloneBytes("a fragment header of IPv6", [](Bytes& b) { b[6] = 44; }, isIpv6);
  aloneBytes("a datagram that ends in its transport header", [](Bytes& b) {
    b.resize(transportAt(b) + 7);
    reference::set16(b, b[0] >> 4 == 6 ? 4 : 2, b[0] >> 4 == 6 ? 7 : 27);
  });
  alonePacket("a datagram with IP options", [](Packet& p) { p.ipOptions.assign(4, 1); }, isIpv4);
  alonePacket("a datagram with an extension header", [](Packet& p) { p.extensions.assign(1, 60); }, isIpv6);
  familyRule("a head with a wrong checksum goes alone, the rest is joined", [](const Family& family) {
    auto list = datagrams(stream(family, 4));
    list[0].bytes.back() ^= 0x80;
    expect(list, {{0}, {1, 2, 3}});
  });
  familyRule("when every checksum is wrong nothing is joined or changed", [](const Family& family) {
    auto list = datagrams(stream(family, 4));
    for (Datagram& datagram : list) datagram.bytes.back() ^= 0x80;
    expect(list, {{0}, {1}, {2}, {3}});
  });
}

void orderRules() {
  familyRule("a fragment ends the chains of its address pair, not of another", [](const Family& family) {
    const auto a = stream(family, 2);
    auto b = a;
    for (Packet& packet : b) packet.destination[2] ^= 0x41;
    auto list = datagrams({a[0], b[0], a[0], a[1], b[1]});
    list[2].bytes[family.ipv6 ? 6 : 7] = 44;
    expect(list, {{0}, {1, 4}, {2}, {3}});
  });
  familyRule("what ends one flow's chain leaves the other flows' open", [](const Family& family) {
    const auto a = stream(family, 2);
    auto other = a[0];
    other.destinationPort ^= 1;
    other.payload.clear();
    expect(datagrams({a[0], other, a[1]}), {{0, 2}, {1}});
  });
  rule("bytes that are no IP packet end nothing", [] {
    for (const Bytes& garbage : {Bytes{}, Bytes(1, 0x45), Bytes(19, 0x45), Bytes(39, 0x60), Bytes(200, 0x50), Bytes(200, 0)}) {
      for (const Family& family : FAMILIES) {
        const auto list = datagrams(stream(family, 2));
        expect({list[0], {garbage, 1}, list[1]}, {{0, 2}, {1}});
      }
    }
  });
}

void lifeRules() {
  rule("add says no when maxDatagrams is reached, and the burst is whole", [] {
    const auto list = datagrams(stream(FAMILIES[0], 4));
    const check::Placement placed(list);
    Coalescer coalescer(3, ALL_KINDS);
    coalescer.begin();
    for (size_t i = 0; i < 4; i++) {
      CHECK(coalescer.add(placed.at(i), static_cast<uint32_t>(list[i].bytes.size()), 1) == (i < 3));
    }
    CHECK(coalescer.finish() == 1);
    CHECK(coalescer.frame(0).segments == 3);
  });
  rule("begin forgets the last burst", [] {
    const auto list = datagrams(stream(FAMILIES[0], 2));
    Coalescer coalescer(4, ALL_KINDS);
    for (const Datagram& datagram : list) {
      CHECK(groupsOf(check::coalesce(coalescer, {datagram}).made) == Groups{{0}});
    }
    coalescer.begin();
    CHECK(coalescer.finish() == 0);
    CHECK(groupsOf(check::coalesce(coalescer, list).made) == Groups({{0, 1}}));
  });
  rule("a coalescer of no datagrams takes none", [] {
    uint8_t byte = 0x45;
    Coalescer coalescer(0, ALL_KINDS);
    coalescer.begin();
    CHECK(!coalescer.add(&byte, 1, 1));
    CHECK(coalescer.finish() == 0);
  });
}

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
      case 0: sent.flags |= reference::PSH; break;
      case 1: sent.flags = random_.byte(); break;
      case 2: sent.payload.resize(random_.below(sent.payload.size() + 1)); resume(sent); break;
      case 3: fullPayload_ = random_.between(1, 60); break;
      case 4: packet_.sequence += static_cast<uint32_t>(random_.below(3)); break;
      case 5: packet_.identification++; break;
      case 6: packet_.dontFragment = !packet_.dontFragment; break;
      case 7: packet_.window++; break;
      case 8: packet_.acknowledgment++; break;
      case 9: packet_.hopLimit--; break;
      case 10: if (packet_.tcp) packet_.tcpOptions = random_.bytes(4 * random_.below(11)); break;
      default: sent.payload.push_back(1); resume(sent); break;
    }
    if (packet_.ipv6) packet_.identification = 0, packet_.dontFragment = true;
  }
  void resume(const Packet& sent) { packet_.sequence = sent.sequence + static_cast<uint32_t>(sent.payload.size()); }

  void spoil(Bytes& bytes) {
    switch (random_.below(3)) {
      case 0: bytes.back() ^= 1; break;
      case 1: bytes[random_.below(bytes.size())] ^= 1; bytes[0] = packet_.ipv6 ? 0x60 : 0x45; break;
      default: if (!packet_.tcp) reference::set16(bytes, transportAt(bytes) + 6, 0); break;
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
      case 0: bytes[at] = 1; break;
      case 1: bytes[packet_.ipv6 ? 5 : 3]++; break;
      case 2: bytes.resize(random_.below(bytes.size())); break;
      default: bytes[packet_.ipv6 ? 4 : 6] ^= 0x20; break;
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
      case 0: datagram.bytes = random.bytes(random.below(100)); break;
      case 1: datagram.bytes = list[random.below(list.size())].bytes; break;
      case 2: datagram.bytes.resize(random.below(datagram.bytes.size() + 1)); break;
      case 3: datagram.source = static_cast<uint32_t>(random.below(3)); break;
      default:
        if (!datagram.bytes.empty()) datagram.bytes[random.below(std::min(datagram.bytes.size(), size_t{64}))] = random.byte();
    }
  }
}

void randomRules(Random& random) {
  rule("random flows of one address pair, fragments and garbage among them, equal the reference", [&] {
    Coalescer coalescer(256, ALL_KINDS);
    for (size_t i = 0; i < check::scaled(1500); i++) {
      auto flows = onePair(random);
      agree(coalescer, interleave(random, flows, random.between(1, 150), true), ALL_KINDS);
    }
  });
  rule("random flows of any family, address and source equal the reference", [&] {
    Coalescer coalescer(256, ALL_KINDS);
    for (size_t i = 0; i < check::scaled(1500); i++) {
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
    for (size_t i = 0; i < check::scaled(1500); i++) {
      auto flows = anyFlows(random, 40);
      auto list = interleave(random, flows, random.between(1, 256), true);
      makeHostile(random, list);
      const check::Outcome outcome = check::coalesce(coalescer, list);
      CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
    }
  });
  rule("with as many flows as the table is made for, most still join", [&] {
    constexpr size_t FLOWS = 256;
    Coalescer coalescer(2 * FLOWS, ALL_KINDS);
    for (size_t i = 0; i < check::scaled(40); i++) {
      std::vector<Datagram> list(2 * FLOWS);
      for (size_t flow = 0; flow < FLOWS; flow++) {
        Packet packet = check::randomPacket(random, random.oneIn(2), false);
        packet.payload = random.bytes(8);
        list[flow] = {reference::build(packet), 1};
        list[flow + FLOWS] = {reference::build(following(packet, random)), 1};
      }
      const check::Outcome outcome = check::coalesce(coalescer, list);
      CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
      CHECK(outcome.made.size() <= FLOWS + FLOWS / 10);
    }
  });
}

}  // namespace

int main() {
  Random random = Random::fromEnvironment();
  joiningRules();
  differenceRules();
  aloneRules();
  orderRules();
  lifeRules();
  randomRules(random);
  return check::finish();
}
