// segment.cc and virtio-net headers that lie: each lie by name, then random ones.
#include <cerrno>
#include <functional>

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

/// One way to lie: changes the virtio-net header or the frame of a sound superframe.
struct Lie {
  const char* name;
  bool ipv6;
  bool tcp;
  std::function<void(VnetHeader&, Bytes&)> tell;
};

const std::vector<Lie>& lies() {
  static const std::vector<Lie> all = {
      {"no gso type", false, true, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_NONE; }},
      {"ECN without a gso type", false, true, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_ECN; }},
      {"an unknown gso type", false, true, [](VnetHeader& v, Bytes&) { v.gsoType = 3; }},
      {"another unknown gso type", false, true, [](VnetHeader& v, Bytes&) { v.gsoType = 0x7f; }},
      {"TCPV6 over IPv4", false, true, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_TCPV6; }},
      {"TCPV4 over IPv6", true, true, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_TCPV4; }},
      {"TCPV4 over UDP", false, false, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_TCPV4; }},
      {"TCPV6 over UDP", true, false, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_TCPV6; }},
      {"UDP_L4 over TCP", false, true, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_UDP_L4; }},
      {"UDP_L4 over IPv6 TCP", true, true, [](VnetHeader& v, Bytes&) { v.gsoType = VNET_GSO_UDP_L4; }},
      {"gsoBytes 0", false, true, [](VnetHeader& v, Bytes&) { v.gsoBytes = 0; }},
      {"no NEEDS_CSUM", false, true, [](VnetHeader& v, Bytes&) { v.flags = 0; }},
      {"DATA_VALID instead of NEEDS_CSUM", false, true, [](VnetHeader& v, Bytes&) { v.flags = 2; }},
      {"csumStart 0", false, true, [](VnetHeader& v, Bytes&) { v.csumStart = 0; }},
      {"csumStart inside the IP header", true, true, [](VnetHeader& v, Bytes&) { v.csumStart = 20; }},
      {"csumStart past the IP header", false, true, [](VnetHeader& v, Bytes&) { v.csumStart = 24; }},
      {"csumStart 65535", false, false, [](VnetHeader& v, Bytes&) { v.csumStart = 65535; }},
      {"csumOffset 0", false, true, [](VnetHeader& v, Bytes&) { v.csumOffset = 0; }},
      {"csumOffset of UDP for TCP", false, true, [](VnetHeader& v, Bytes&) { v.csumOffset = 6; }},
      {"csumOffset of TCP for UDP", true, false, [](VnetHeader& v, Bytes&) { v.csumOffset = 16; }},
      {"csumOffset 65535", true, true, [](VnetHeader& v, Bytes&) { v.csumOffset = 65535; }},
      {"an empty frame", false, true, [](VnetHeader&, Bytes& f) { f.clear(); }},
      {"version 0", false, true, [](VnetHeader&, Bytes& f) { f[0] = 0x05; }},
      {"version 5", false, true, [](VnetHeader&, Bytes& f) { f[0] = 0x55; }},
      {"version 6 over an IPv4 header", false, true, [](VnetHeader&, Bytes& f) { f[0] = 0x65; }},
      {"version 4 over an IPv6 header", true, true, [](VnetHeader&, Bytes& f) { f[0] = 0x45; }},
      {"IHL 4", false, true, [](VnetHeader&, Bytes& f) { f[0] = 0x44; }},
      {"IHL 4 with a TCP header where it says", false, true,
       [](VnetHeader& v, Bytes& f) {
         f[0] = 0x44;
         f[28] = 0x50;
         v.csumStart = 16;
       }},
      {"IHL 0", false, true, [](VnetHeader&, Bytes& f) { f[0] = 0x40; }},
      {"IHL 6 without options", false, true, [](VnetHeader&, Bytes& f) { f[0] = 0x46; }},
      {"IHL past the frame", false, false,
       [](VnetHeader& v, Bytes& f) {
         f[0] = 0x4f;
         f.resize(50);
         v.csumStart = 60;
       }},
      {"more fragments", false, true, [](VnetHeader&, Bytes& f) { f[6] |= 0x20; }},
      {"a fragment offset", false, true, [](VnetHeader&, Bytes& f) { f[7] = 1; }},
      {"a high fragment offset", false, true, [](VnetHeader&, Bytes& f) { f[6] |= 0x10; }},
      {"protocol UDP in a TCP frame", false, true, [](VnetHeader&, Bytes& f) { f[9] = 17; }},
      {"protocol TCP in a UDP frame", false, false, [](VnetHeader&, Bytes& f) { f[9] = 6; }},
      {"protocol ICMP", false, true, [](VnetHeader&, Bytes& f) { f[9] = 1; }},
      {"next header 59, none", true, true, [](VnetHeader&, Bytes& f) { f[6] = 59; }},
      {"next header 44, fragment", true, true, [](VnetHeader&, Bytes& f) { f[6] = 44; }},
      {"next header 51, authentication", true, true, [](VnetHeader&, Bytes& f) { f[6] = 51; }},
      {"a hop-by-hop header that is TCP", true, true,
       [](VnetHeader&, Bytes& f) {
         f[6] = 0;
         f[40] = 6;
         f[41] = 0;
       }},
      {"a destination option past the frame", true, true,
       [](VnetHeader&, Bytes& f) {
         f[6] = 60;
         f[40] = 6;
         f[41] = 255;
       }},
      {"a frame that ends in an extension header", true, true,
       [](VnetHeader&, Bytes& f) {
         f[6] = 60;
         f.resize(41);
       }},
      {"extension headers without end", true, true,
       [](VnetHeader&, Bytes& f) {
         f[6] = 60;
         for (size_t i = 40; i < f.size(); i += 8) f[i] = 60, f[i + 1] = 0;
       }},
      {"a routing header with segments left", true, true,
       [](VnetHeader& v, Bytes& f) {
         const uint8_t routing[] = {6, 0, 0, 1, 0, 0, 0, 0};
         f.insert(f.begin() + 40, routing, routing + 8);
         f[6] = 43;
         v.csumStart = 48;
       }},
      {"headers longer than MAX_HEADER_BYTES", true, true,
       [](VnetHeader& v, Bytes& f) {
         Bytes options(88, 0);
         options[0] = 6;
         options[1] = 10;
         f.insert(f.begin() + 40, options.begin(), options.end());
         f[6] = 60;
         v.csumStart = 128;
       }},
      {"data offset 4", false, true, [](VnetHeader&, Bytes& f) { f[32] = 0x40; }},
      {"data offset 0", true, true, [](VnetHeader&, Bytes& f) { f[52] = 0; }},
      {"data offset past the frame", false, true,
       [](VnetHeader&, Bytes& f) {
         f[32] = 0xf0;
         f.resize(79);
       }},
      {"a frame that ends in the IPv4 header", false, true, [](VnetHeader&, Bytes& f) { f.resize(19); }},
      {"a frame that ends after the IPv4 header", false, true, [](VnetHeader&, Bytes& f) { f.resize(20); }},
      {"a frame that ends in the TCP header", false, true, [](VnetHeader&, Bytes& f) { f.resize(39); }},
      {"a frame that ends in the UDP header", false, false, [](VnetHeader&, Bytes& f) { f.resize(27); }},
      {"a frame that ends in the IPv6 header", true, true, [](VnetHeader&, Bytes& f) { f.resize(39); }},
      {"a frame that ends in IPv6 TCP", true, true, [](VnetHeader&, Bytes& f) { f.resize(59); }},
      {"a segment longer than IP can carry", true, false,
       [](VnetHeader& v, Bytes& f) {
         v.gsoBytes = 65535;
         f.resize(MAX_SUPERFRAME_BYTES);
       }},
  };
  return all;
}

void rejectedLies() {
  for (const Lie& lie : lies()) {
    rule(std::string("rejected: ") + lie.name, [&] {
      const Packet packet = sample(lie.ipv6, lie.tcp);
      VnetHeader vnet = vnetFor(packet, 100);
      Bytes frame = reference::buildPartial(packet);
      SegmentPlan planned;
      CHECK(plan(vnet, frame, &planned) == 4);
      lie.tell(vnet, frame);
      frame.shrink_to_fit();  // so that AddressSanitizer sees the frame's end
      CHECK(plan(vnet, frame, &planned) == -EINVAL);
    });
  }
}

/// Accepted or not: all payload appears once and in order, and nothing outside frame and header is touched.
void segmentsAreSafe(const VnetHeader& vnet, const Bytes& frame) {
  SegmentPlan planned;
  const int segments = plan(vnet, frame, &planned);
  if (segments < 0) {
    CHECK(segments == -EINVAL);
    return;
  }
  CHECK(segments >= 1 && static_cast<uint32_t>(segments) == planned.segments);
  CHECK(planned.headerBytes <= MAX_HEADER_BYTES);
  size_t at = planned.headerBytes;
  for (uint32_t i = 0; i < planned.segments; i++) {
    Bytes header(planned.headerBytes);
    const uint8_t* payload = nullptr;
    const uint32_t bytes = stampSegment(planned, i, header.data(), &payload);
    CHECK(payload == frame.data() + at);
    CHECK(bytes <= planned.payloadBytes && (bytes > 0 || planned.segments == 1));
    at += bytes;
  }
  CHECK(at == frame.size());
}

void randomLies(Random& random) {
  for (size_t i = 0; i < check::scaled(30000); i++) {
    Packet packet = randomSuperframe(random, random.oneIn(2), random.oneIn(2));
    packet.payload.resize(random.below(500));
    VnetHeader vnet = vnetFor(packet, random.between(1, 200));
    Bytes frame = reference::buildPartial(packet);
    for (size_t changes = random.below(4); changes > 0; changes--) {
      frame[random.below(std::min(frame.size(), size_t{130}))] = random.oneIn(2) ? random.byte() : uint8_t{0};
    }
    if (random.oneIn(3)) frame.resize(random.below(frame.size() + 1));
    if (random.oneIn(3)) vnet.csumStart = static_cast<uint16_t>(random.below(140));
    if (random.oneIn(6)) vnet.gsoType = random.byte();
    if (random.oneIn(6)) vnet.gsoBytes = random.word();
    frame.shrink_to_fit();
    segmentsAreSafe(vnet, frame);
  }
}

}  // namespace

int main() {
  Random random = Random::fromEnvironment();
  rejectedLies();
  rule("random lies are rejected, or lose no byte and touch nothing outside", [&] { randomLies(random); });
  return check::finish();
}
