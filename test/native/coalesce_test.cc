// The rules of coalesce.cc by name. Each row is also held against the packet-at-a-time coalescer.
#include "../../native/coalesce.h"

#include <functional>

#include "coalesce_check.h"

using namespace selvage;
using check::agree;
using check::ALL_KINDS;
using check::following;
using check::Groups;
using check::groupsOf;
using check::print;
using check::Random;
using check::rule;
using check::transportAt;
using reference::Bytes;
using reference::Datagram;
using reference::Packet;

namespace {

constexpr size_t PAYLOAD = 100;

struct Family {
  const char* name;
  bool ipv6;
  bool tcp;
};
constexpr Family FAMILIES[] = {{"TCP over IPv4", false, true},
                               {"TCP over IPv6", true, true},
                               {"UDP over IPv4", false, false},
                               {"UDP over IPv6", true, false}};

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

/// Runs a burst and expects these frames, of the coalescer and of the reference.
void expect(const std::vector<Datagram>& list, const Groups& groups, uint32_t kinds = ALL_KINDS) {
  Coalescer coalescer(static_cast<uint32_t>(list.size()), kinds);
  const Groups made = groupsOf(agree(coalescer, list, kinds));
  CHECK_CASE(made == groups, print(made) + ", expected " + print(groups));
}

using Applies = bool (*)(const Family&);

bool all(const Family&) { return true; }
bool isTcp(const Family& family) { return family.tcp; }
bool isUdp(const Family& family) { return !family.tcp; }
bool isIpv4(const Family& family) { return !family.ipv6; }
bool isIpv6(const Family& family) { return family.ipv6; }

/// A rule that holds for the families that `applies` names.
void familyRule(const std::string& name, Applies applies, const std::function<void(const Family&)>& body) {
  for (const Family& family : FAMILIES) {
    if (applies(family)) rule(name + " (" + family.name + ")", [&] { body(family); });
  }
}

void joiningRules() {
  familyRule("consecutive segments become one superframe", all,
             [](const Family& family) { expect(datagrams(stream(family, 5)), {{0, 1, 2, 3, 4}}); });
  familyRule("a short last segment ends the chain", all, [](const Family& family) {
    auto packets = stream(family, 4);
    packets[1].payload.resize(PAYLOAD - 1);
    packets[2].sequence -= 1;
    packets[3].sequence -= 1;
    expect(datagrams(packets), {{0, 1}, {2, 3}});
  });
  familyRule("a longer segment begins a new chain", all, [](const Family& family) {
    auto packets = stream(family, 3, PAYLOAD);
    packets[0].payload.resize(PAYLOAD - 1);
    packets[0].sequence += 1;
    expect(datagrams(packets), {{0}, {1, 2}});
  });
  familyRule("PSH ends the chain and is set on the superframe", isTcp, [](const Family& family) {
    auto packets = stream(family, 4);
    packets[1].flags = reference::ACK | reference::PSH;
    expect(datagrams(packets), {{0, 1}, {2, 3}});
    packets[0].flags = reference::ACK | reference::PSH;
    packets[1].flags = reference::ACK;
    expect(datagrams(packets), {{0}, {1, 2, 3}});
  });
  familyRule("64 datagrams are one superframe, the 65th begins the next", all, [](const Family& family) {
    Groups groups(2);
    for (size_t i = 0; i < 65; i++) groups[i / 64].push_back(i);
    expect(datagrams(stream(family, 65)), groups);
  });
  familyRule("65535 bytes are one superframe, one byte more is not", all, [](const Family& family) {
    const size_t header = reference::headerBytes(stream(family, 2)[0]);
    for (const size_t more : {0u, 1u}) {
      const size_t payload = 65535 - header + more;
      auto packets = stream(family, 2, (payload + 1) / 2);
      packets[1].payload.resize(payload / 2);
      expect(datagrams(packets), more == 0 ? Groups{{0, 1}} : Groups{{0}, {1}});
    }
  });
  familyRule("the TCP sequence number may wrap", isTcp, [](const Family& family) {
    auto packets = stream(family, 3);
    for (size_t i = 0; i < 3; i++) packets[i].sequence = static_cast<uint32_t>(0xffffff9c + 100 * i);
    expect(datagrams(packets), {{0, 1, 2}});
  });
  familyRule("the IPv4 identification may wrap", isIpv4, [](const Family& family) {
    auto packets = stream(family, 3);
    for (size_t i = 0; i < 3; i++) packets[i].identification = static_cast<uint16_t>(0xffff + i);
    expect(datagrams(packets), {{0, 1, 2}});
  });
  familyRule("with DF the IPv4 identification does not matter", isIpv4, [](const Family& family) {
    auto packets = stream(family, 3);
    for (size_t i = 0; i < 3; i++) {
      packets[i].dontFragment = true;
      packets[i].identification = static_cast<uint16_t>(7 * i * i);
    }
    expect(datagrams(packets), {{0, 1, 2}});
  });
  familyRule("interleaved flows join each their own, in the order of their first datagrams", all,
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
  familyRule("datagrams of two sources are never joined", all, [](const Family& family) {
    const auto a = stream(family, 2);
    auto list = datagrams({a[0], a[0], a[1], a[1]});
    list[1].source = list[3].source = 2;
    expect(list, {{0, 2}, {1, 3}});
    list[3].source = 3;
    expect(list, {{0, 2}, {1}, {3}});
  });
  familyRule("datagrams of two outer classes are never joined, and keep their order", all, [](const Family& family) {
    auto list = datagrams(stream(family, 6));
    list[2].outerClass = list[3].outerClass = 3;
    expect(list, {{0, 1}, {2, 3}, {4, 5}});
  });
  familyRule("a kind that is off passes alone, the others join", all, [](const Family& family) {
    for (const Family& other : FAMILIES) {
      const bool same = other.ipv6 == family.ipv6 && other.tcp == family.tcp;
      const uint32_t off = reference::kindOf(stream(family, 1)[0]);
      expect(datagrams(stream(other, 3)), same ? Groups{{0}, {1}, {2}} : Groups{{0, 1, 2}}, ALL_KINDS & ~off);
    }
  });
}

/// From the second packet on the flow looks different: two chains.
struct Difference {
  const char* what;
  Applies applies;
  std::function<void(Packet&)> change;
};

void differenceRules() {
  const Difference differences[] = {
      {"source address", all, [](Packet& p) { p.source[3] ^= 1; }},
      {"last byte of the source address", isIpv6, [](Packet& p) { p.source[15] ^= 1; }},
      {"destination address", all, [](Packet& p) { p.destination[0] ^= 0x80; }},
      {"last byte of the destination address", isIpv6, [](Packet& p) { p.destination[15] ^= 1; }},
      {"source port", all, [](Packet& p) { p.sourcePort ^= 0x100; }},
      {"destination port", all, [](Packet& p) { p.destinationPort ^= 1; }},
      {"TOS or traffic class", all, [](Packet& p) { p.trafficClass ^= 1; }},
      {"upper half of the traffic class", isIpv6, [](Packet& p) { p.trafficClass ^= 0x80; }},
      {"TTL or hop limit", all, [](Packet& p) { p.hopLimit ^= 1; }},
      {"DF", isIpv4, [](Packet& p) { p.dontFragment = true; }},
      {"flow label", isIpv6, [](Packet& p) { p.flowLabel ^= 0x80000; }},
      {"last bit of the flow label", isIpv6, [](Packet& p) { p.flowLabel ^= 1; }},
      {"acknowledgment number", isTcp, [](Packet& p) { p.acknowledgment ^= 1; }},
      {"window", isTcp, [](Packet& p) { p.window ^= 0x100; }},
      {"urgent pointer", isTcp, [](Packet& p) { p.urgent ^= 1; }},
      {"option byte", isTcp, [](Packet& p) { p.tcpOptions[11] ^= 1; }},
      {"option length", isTcp, [](Packet& p) { p.tcpOptions.resize(8); }},
      {"sequence number, after a gap,", isTcp, [](Packet& p) { p.sequence += 1; }},
      {"sequence number, overlapping,", isTcp, [](Packet& p) { p.sequence -= 1; }},
      {"sequence number, 2^31 off,", isTcp, [](Packet& p) { p.sequence ^= 0x80000000; }},
      {"identification than the next", isIpv4, [](Packet& p) { p.identification++; }},
  };
  for (const Difference& difference : differences) {
    familyRule(std::string("another ") + difference.what + " begins a new chain", difference.applies,
               [&](const Family& family) {
                 auto packets = stream(family, 3);
                 for (Packet& packet : packets) packet.tcpOptions.assign(family.tcp ? 12 : 0, 1);
                 difference.change(packets[1]);
                 difference.change(packets[2]);
                 expect(datagrams(packets), {{0}, {1, 2}});
               });
  }
  familyRule("a repeated datagram begins a new chain, but of IPv6 UDP, where nothing tells", all,
             [](const Family& family) {
               const auto packets = stream(family, 2);
               const bool sequenced = family.tcp || !family.ipv6;
               expect(datagrams({packets[0], packets[0]}), sequenced ? Groups{{0}, {1}} : Groups{{0, 1}});
             });
}

size_t lengthAt(const Bytes& bytes) { return bytes[0] >> 4 == 6 ? 4 : 2; }

void addToLength(Bytes& bytes, unsigned more) {
  reference::set16(bytes, lengthAt(bytes), reference::get16(bytes, lengthAt(bytes)) + more);
}

void truncate(Bytes& bytes, size_t transportBytes) {
  bytes.resize(transportAt(bytes) + transportBytes);
  addToLength(bytes, static_cast<unsigned>(bytes.size() - (bytes[0] >> 4 == 6 ? 40u : 0u)) -
                         reference::get16(bytes, lengthAt(bytes)));
}

/// Takes the checksum out of the field and into the payload, so that the sum over the whole still comes out right.
void withoutChecksum(Bytes& bytes) {
  const size_t field = transportAt(bytes) + 6;
  const uint8_t both[] = {bytes[field], bytes[field + 1], bytes[field + 2], bytes[field + 3]};
  reference::set16(bytes, field, 0);
  reference::set16(bytes, field + 2, reference::checksum(both, 4));
}

/// Makes the checksums right again after a change to other fields, over the bytes that are there.
void makeChecksumsRight(Bytes& bytes, const Family& family) {
  const size_t start = transportAt(bytes);
  const size_t field = start + (family.tcp ? 16 : 6);
  if (!family.ipv6) {
    reference::set16(bytes, 10, 0);
    reference::set16(bytes, 10, 0xffffu - reference::checksum(bytes.data(), (bytes[0] & 0x0fu) * 4));
  }
  if (bytes.size() < field + 2) return;
  Packet packet;  // of which only the pseudo-header is used
  packet.ipv6 = family.ipv6;
  packet.tcp = family.tcp;
  std::copy_n(bytes.begin() + (family.ipv6 ? 8 : 12), family.ipv6 ? 16 : 4, packet.source.begin());
  std::copy_n(bytes.begin() + (family.ipv6 ? 24 : 16), family.ipv6 ? 16 : 4, packet.destination.begin());
  const Bytes pseudo = reference::pseudoHeader(packet, bytes.size() - start);
  reference::set16(bytes, field, 0);
  const unsigned initial = reference::checksum(pseudo.data(), pseudo.size());
  reference::set16(bytes, field, 0xffffu - reference::checksum(bytes.data() + start, bytes.size() - start, initial));
}

/// What keeps a datagram from being joined. Either the packet is built so or its bytes are changed afterwards.
struct Oddity {
  const char* what;
  Applies applies;
  std::function<void(Packet&)> build;
  std::function<void(Bytes&)> change;
};

void nothing(Bytes&) {}
void asUsual(Packet&) {}

const std::vector<Oddity>& wrongChecksums() {
  static const std::vector<Oddity> list = {
      {"a wrong TCP checksum", isTcp, asUsual, [](Bytes& b) { b[transportAt(b) + 17] ^= 1; }},
      {"a wrong UDP checksum", isUdp, asUsual, [](Bytes& b) { b[transportAt(b) + 6] ^= 0x10; }},
      {"a wrong last payload byte", all, asUsual, [](Bytes& b) { b.back() ^= 1; }},
      {"a wrong first payload byte", all, asUsual, [](Bytes& b) { b[b.size() - PAYLOAD] ^= 1; }},
      {"a wrong IPv4 header checksum", isIpv4, asUsual, [](Bytes& b) { b[11] ^= 1; }},
  };
  return list;
}

const std::vector<Oddity>& oddities() {
  static const std::vector<Oddity> list = {
      {"a segment with FIN", isTcp, [](Packet& p) { p.flags = reference::ACK | reference::FIN; }, nothing},
      {"a segment with SYN", isTcp, [](Packet& p) { p.flags = reference::ACK | reference::SYN; }, nothing},
      {"a segment with RST", isTcp, [](Packet& p) { p.flags = reference::ACK | reference::RST; }, nothing},
      {"a segment with URG", isTcp, [](Packet& p) { p.flags = reference::ACK | reference::URG; }, nothing},
      {"a segment with ECE", isTcp, [](Packet& p) { p.flags = reference::ACK | reference::ECE; }, nothing},
      {"a segment with CWR", isTcp, [](Packet& p) { p.flags = reference::ACK | reference::CWR; }, nothing},
      {"a segment without ACK", isTcp, [](Packet& p) { p.flags = 0; }, nothing},
      {"a segment with a reserved bit", isTcp, [](Packet& p) { p.reserved = 1; }, nothing},
      {"a segment or datagram without payload", all, [](Packet& p) { p.payload.clear(); }, nothing},
      {"a datagram without checksum", isUdp, asUsual, withoutChecksum},
      {"a UDP length one too short", isUdp, asUsual, [](Bytes& b) { b[transportAt(b) + 5]--; }},
      {"a UDP length one too long", isUdp, asUsual, [](Bytes& b) { b[transportAt(b) + 5]++; }},
      {"a TCP data offset of 4", isTcp, asUsual, [](Bytes& b) { b[transportAt(b) + 12] = 0x40; }},
      {"a TCP data offset past the end", isTcp, asUsual,
       [](Bytes& b) {
         b[transportAt(b) + 12] = 0xf0;
         truncate(b, 59);
       }},
      {"a TCP header cut short", isTcp, asUsual, [](Bytes& b) { truncate(b, 19); }},
      {"a UDP header cut short", isUdp, asUsual, [](Bytes& b) { truncate(b, 7); }},
      {"an IP header with nothing behind it", all, asUsual, [](Bytes& b) { truncate(b, 0); }},
      {"a first fragment", isIpv4, asUsual, [](Bytes& b) { b[6] |= 0x20; }},
      {"a later fragment", isIpv4, asUsual, [](Bytes& b) { b[7] = 5; }},
      {"the reserved flag of IPv4", isIpv4, asUsual, [](Bytes& b) { b[6] |= 0x80; }},
      {"an IP length one too short", all, asUsual, [](Bytes& b) { addToLength(b, 0xffff); }},
      {"an IP length one too long", all, asUsual, [](Bytes& b) { addToLength(b, 1); }},
      {"another protocol between the same addresses", isIpv4, asUsual, [](Bytes& b) { b[9] = 1; }},
      {"another next header between the same addresses", isIpv6, asUsual, [](Bytes& b) { b[6] = 58; }},
      {"a fragment header of IPv6", isIpv6, asUsual, [](Bytes& b) { b[6] = 44; }},
      {"a datagram with IP options", isIpv4, [](Packet& p) { p.ipOptions.assign(4, 1); }, nothing},
      {"a datagram with an extension header", isIpv6, [](Packet& p) { p.extensions.assign(1, 60); }, nothing},
  };
  return list;
}

/// Five datagrams of which the third is odd.
void goesAlone(const Oddity& oddity, const Family& family) {
  auto packets = stream(family, 5);
  oddity.build(packets[2]);
  auto list = datagrams(packets);
  oddity.change(list[2].bytes);
  list[2].bytes.shrink_to_fit();
  expect(list, {{0, 1}, {2}, {3, 4}});
}

/// Three datagrams that are all odd in the same way, and have right checksums.
void neverJoins(const Oddity& oddity, const Family& family) {
  auto packets = stream(family, 3);
  for (Packet& packet : packets) oddity.build(packet);
  auto list = datagrams(packets);
  for (Datagram& datagram : list) {
    oddity.change(datagram.bytes);
    const bool plain = (datagram.bytes[0] & 0x0f) == 5 || family.ipv6;
    const bool noChecksum = !family.tcp && datagram.bytes.size() > 48 &&
                            reference::get16(datagram.bytes, transportAt(datagram.bytes) + 6) == 0;
    if (plain && !noChecksum) makeChecksumsRight(datagram.bytes, family);
  }
  expect(list, {{0}, {1}, {2}});
}

void aloneRules() {
  for (const std::vector<Oddity>* list : {&wrongChecksums(), &oddities()}) {
    for (const Oddity& oddity : *list) {
      familyRule(std::string(oddity.what) + " goes alone and unchanged, and ends the chain", oddity.applies,
                 [&](const Family& family) { goesAlone(oddity, family); });
    }
  }
  for (const Oddity& oddity : oddities()) {
    familyRule(std::string(oddity.what) + " does not join with its like", oddity.applies,
               [&](const Family& family) { neverJoins(oddity, family); });
  }
  familyRule("a head with a wrong checksum goes alone, the rest is joined", all, [](const Family& family) {
    auto list = datagrams(stream(family, 4));
    list[0].bytes.back() ^= 0x80;
    expect(list, {{0}, {1, 2, 3}});
  });
  familyRule("when every checksum is wrong nothing is joined or changed", all, [](const Family& family) {
    auto list = datagrams(stream(family, 4));
    for (Datagram& datagram : list) datagram.bytes.back() ^= 0x80;
    expect(list, {{0}, {1}, {2}, {3}});
  });
}

void orderRules() {
  familyRule("a fragment ends the chains of its address pair, not of another", all, [](const Family& family) {
    const auto a = stream(family, 2);
    auto b = a;
    for (Packet& packet : b) packet.destination[2] ^= 0x41;
    auto list = datagrams({a[0], b[0], a[0], a[1], b[1]});
    list[2].bytes[family.ipv6 ? 6 : 7] = 44;
    expect(list, {{0}, {1, 4}, {2}, {3}});
  });
  familyRule("a fragment of another source ends nothing", all, [](const Family& family) {
    const auto a = stream(family, 2);
    auto list = datagrams({a[0], a[0], a[1]});
    list[1].bytes[family.ipv6 ? 6 : 7] = 44;
    list[1].source = 2;
    expect(list, {{0, 2}, {1}});
  });
  familyRule("what ends one flow's chain leaves the other flows' open", all, [](const Family& family) {
    const auto a = stream(family, 2);
    auto other = a[0];
    other.destinationPort ^= 1;
    other.payload.clear();
    expect(datagrams({a[0], other, a[1]}), {{0, 2}, {1}});
  });
  rule("bytes that are no IP packet end nothing", [] {
    for (const Bytes& garbage :
         {Bytes{}, Bytes(1, 0x45), Bytes(19, 0x45), Bytes(39, 0x60), Bytes(200, 0x50), Bytes(200, 0)}) {
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
      CHECK(coalescer.add(placed.at(i), static_cast<uint32_t>(list[i].bytes.size()), 1, 0) == (i < 3));
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
  rule("a burst is forgotten however many bursts later the stamps come round", [] {
    const auto list = datagrams(stream(FAMILIES[0], 2));
    for (const int bursts : {65534, 65535, 65536}) {
      Coalescer coalescer(4, ALL_KINDS);
      CHECK(groupsOf(check::coalesce(coalescer, {list[0]}).made) == Groups{{0}});
      for (int i = 1; i < bursts; i++) coalescer.begin();
      const check::Outcome outcome = check::coalesce(coalescer, {list[1]});
      CHECK_CASE(outcome.wrong.empty(), outcome.wrong);
      CHECK(groupsOf(outcome.made) == Groups{{0}});
    }
  });
  rule("a coalescer of no datagrams takes none", [] {
    uint8_t byte = 0x45;
    Coalescer coalescer(0, ALL_KINDS);
    coalescer.begin();
    CHECK(!coalescer.add(&byte, 1, 1, 0));
    CHECK(coalescer.finish() == 0);
  });
}

}  // namespace

int main() {
  joiningRules();
  differenceRules();
  aloneRules();
  orderRules();
  lifeRules();
  return check::finish();
}
