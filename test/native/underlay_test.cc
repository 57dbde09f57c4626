// udp.cc, udp_sender.cc, path_mtu.cc and steering.cc over an underlay of either family: outer traffic class, datagrams
// that are too large, fragments, ICMP errors, lanes.
#include <cerrno>

#include "../../native/path_mtu.h"
#include "../../native/set_up_error.h"
#include "../../native/steering.h"
#include "../reference/fragment.h"
#include "private_loopback.h"
#include "socket_fixture.h"

using check::OwnedBurst;
using check::packet;
using check::superframe;
using check::UdpFixture;
using reference::Bytes;
using reference::Packet;
using namespace selvage;

namespace {

constexpr int MTU_BYTES = 1400;

struct Underlay {
  const char* name;
  int family;
  const char* near;
  const char* far;
  const char* other;
  size_t mostBytes;  // of a datagram: MTU less outer headers
};
constexpr Underlay UNDERLAYS[] = {
    {"IPv4", AF_INET, "127.0.0.1", "127.0.0.2", "127.0.0.3", MTU_BYTES - 28},
    {"IPv6", AF_INET6, "fd00::1", "fd00::2", "fd00::3", MTU_BYTES - 48},
};

/// An ordinary frame of exactly so many bytes, whose payload begins with `mark`.
Bytes frameOf(size_t bytes, uint8_t mark = 0) {
  Packet one = packet(bytes - 28);
  one.dontFragment = false;
  one.payload[0] = mark;
  return build(one);
}

SocketAddress boundAddress(const UdpSocket& socket, int family) {
  SocketAddress bound = emptySocketAddress(family);
  socklen_t bytes = socketAddressBytes(family);
  CHECK(::getsockname(socket.fd.get(), &bound.any, &bytes) == 0);
  return bound;
}

/// Fills words of an endpoint.
void putWords(const UdpSocket& socket, int family, int32_t* words) {
  const SocketAddress bound = boundAddress(socket, family);
  takeAddress(bound, family, words);
  words[ADDRESS_WORDS] = socket.port;
}

void classRules(const Underlay& underlay, const std::string& over) {
  check::rule("the outer class of a row goes out and comes in, and splits trains and superframes" + over, [&] {
    for (const bool gro : {false, true}) {
      UdpFixture udp(underlay.far, underlay.near, gro);  // the receiving one is `near` of the fixture
      int32_t words[2 * ENDPOINT_WORDS] = {};
      putWords(udp.near, underlay.family, words + ENDPOINT_WORDS);
      OwnedBurst out(8, 65536);
      Packet whole = packet(600, 7, true);
      const std::vector<Bytes> segments = reference::segment(whole, 100);
      const int32_t classes[] = {0, 0, 0xb8, 0xb8, 0x02, 0x103};  // of the last only the low 8 bits
      for (uint32_t row = 0; row < 6; row++) {
        out.put(row, 64 + row * 256, segments[row], {}, 1, 1);
        out.burst.outerClass[row] = classes[row];
      }
      auto sender = std::make_unique<UdpSender>(true, underlay.family);
      CHECK(sender->send(udp.far.fd.get(), out.burst, 6, {words, 2}) == 0);
      CHECK(sender->rowsWithLoss() == 0);
      OwnedBurst in(UdpReceiver::MAX_DATAGRAMS, UdpReceiver::SLAB_BYTES);
      auto receiver = std::make_unique<UdpReceiver>(in.burst, COALESCE_TCP4, underlay.family);
      CHECK(receiver->recvBurst(udp.near.fd.get()) == 4);
      CHECK(receiver->datagrams() == 6);
      const int32_t expectedClasses[] = {0, 0xb8, 0x02, 0x03};
      const int32_t expectedSegments[] = {2, 2, 1, 1};
      int32_t source[ENDPOINT_WORDS];
      putWords(udp.far, underlay.family, source);
      for (uint32_t row = 0; row < 4; row++) {
        CHECK(in.burst.outerClass[row] == expectedClasses[row]);
        CHECK(in.burst.segments[row] == expectedSegments[row]);
        CHECK(std::memcmp(in.burst.source + row * ADDRESS_WORDS, source, ADDRESS_WORDS * sizeof(int32_t)) == 0);
      }
    }
  });
  check::rule("a superframe leaves with its row's class, also where offload is off" + over, [&] {
    for (const bool gso : {true, false}) {
      UdpFixture udp(underlay.far, underlay.near);
      int32_t words[2 * ENDPOINT_WORDS] = {};
      putWords(udp.near, underlay.family, words + ENDPOINT_WORDS);
      OwnedBurst out(1, 65536);
      const Packet whole = packet(3000, 7, true);
      out.put(0, 64, build(whole), superframe(whole, 1000), 3, 1);
      out.burst.outerClass[0] = 0x29;
      auto sender = std::make_unique<UdpSender>(gso, underlay.family);
      CHECK(sender->send(udp.far.fd.get(), out.burst, 1, {words, 2}) == 0);
      OwnedBurst in(UdpReceiver::MAX_DATAGRAMS, UdpReceiver::SLAB_BYTES);
      auto receiver = std::make_unique<UdpReceiver>(in.burst, COALESCE_TCP4, underlay.family);
      CHECK(receiver->recvBurst(udp.near.fd.get()) == 1);
      CHECK(in.burst.segments[0] == 3 && in.burst.outerClass[0] == 0x29);
    }
  });
  check::rule("segments of one flow from two addresses are not joined" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    UdpFixture third(underlay.other);
    int32_t words[2 * ENDPOINT_WORDS] = {};
    putWords(udp.near, underlay.family, words + ENDPOINT_WORDS);
    const std::vector<Bytes> segments = reference::segment(packet(300, 7, true), 100);
    for (size_t i = 0; i < 3; i++) {
      const int fd = i == 1 ? third.near.fd.get() : udp.far.fd.get();
      const size_t bytes = segments[i].size();
      CHECK(udpSendProbe(fd, words + ENDPOINT_WORDS, udp.near.port, segments[i].data(), bytes) ==
            static_cast<int>(bytes));
    }
    OwnedBurst in(UdpReceiver::MAX_DATAGRAMS, UdpReceiver::SLAB_BYTES);
    auto receiver = std::make_unique<UdpReceiver>(in.burst, COALESCE_TCP4, underlay.family);
    CHECK(receiver->recvBurst(udp.near.fd.get()) == 3);
    const int32_t* source = in.burst.source;
    CHECK(std::memcmp(source, source + 2 * ADDRESS_WORDS, 16) == 0 &&
          std::memcmp(source, source + ADDRESS_WORDS, 16) != 0);
  });
}

void sizeRules(const Underlay& underlay, const std::string& over) {
  check::rule("a datagram larger than the path is lost with EMSGSIZE, the one that just fits leaves" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    OwnedBurst burst(8, 65536);
    const size_t sizes[] = {underlay.mostBytes, underlay.mostBytes + 1, 100, underlay.mostBytes + 1,
                            underlay.mostBytes};
    std::vector<Bytes> expected;
    for (uint32_t row = 0; row < 5; row++) {
      const Bytes frame = frameOf(sizes[row], static_cast<uint8_t>(row));
      burst.put(row, 64 + row * 2048, frame, {}, 1, 1);
      if (sizes[row] <= underlay.mostBytes) expected.push_back(frame);
    }
    auto sender = std::make_unique<UdpSender>(true, underlay.family);
    CHECK(sender->send(udp.near.fd.get(), burst.burst, 5, udp.endpoints()) == 0);
    CHECK(sender->rowsWithLoss() == 2);
    for (const uint32_t row : {1u, 3u}) CHECK(burst.burst.lost[row] == 1 && burst.burst.lostErrno[row] == EMSGSIZE);
    CHECK(udp.received() == expected);
    CHECK(sender->gso());
  });
  check::rule("of a superframe whose segments are too large those are lost, and a shorter last one leaves" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    OwnedBurst burst(1, 65536);
    const Packet whole = packet(4 * 1400 + 100, 7, true);
    burst.put(0, 64, build(whole), superframe(whole, 1400), 5, 1);
    burst.burst.outerClass[0] = 0x28;
    auto sender = std::make_unique<UdpSender>(true, underlay.family);
    CHECK(sender->send(udp.near.fd.get(), burst.burst, 1, udp.endpoints()) == 0);
    CHECK(burst.burst.lost[0] == 4 && burst.burst.lostErrno[0] == EMSGSIZE);
    CHECK(udp.received() == std::vector<Bytes>({reference::segment(whole, 1400).back()}));
  });
  check::rule("only the datagrams of a row with CUT_OUTER may be fragmented by the underlay" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    OwnedBurst burst(8, 4 * 65536);
    const Packet whole = packet(3 * 1500, 7, true);
    std::vector<Bytes> expected;
    for (uint32_t row = 0; row < 4; row++) {
      const Bytes frame = frameOf(underlay.mostBytes + 100, static_cast<uint8_t>(row));
      burst.put(row, 64 + row * 2048, frame, {}, 1, 1);
      burst.burst.cut[row] = row % 2 == 1 ? CUT_OUTER : CUT_NONE;
      burst.burst.outerClass[row] = 4 * static_cast<int32_t>(row);
      if (row % 2 == 1) expected.push_back(frame);
    }
    burst.put(4, 65536, build(whole), superframe(whole, 1500), 3, 1);
    burst.burst.cut[4] = CUT_OUTER;
    for (const Bytes& one : reference::segment(whole, 1500)) expected.push_back(one);
    auto sender = std::make_unique<UdpSender>(true, underlay.family);
    CHECK(sender->send(udp.near.fd.get(), burst.burst, 5, udp.endpoints()) == 0);
    CHECK(sender->rowsWithLoss() == 2);
    for (const uint32_t row : {0u, 2u}) CHECK(burst.burst.lost[row] == 1 && burst.burst.lostErrno[row] == EMSGSIZE);
    CHECK(udp.received() == expected);
    CHECK(sender->send(udp.near.fd.get(), burst.burst, 1, udp.endpoints()) == 0);
    CHECK(burst.burst.lost[0] == 1);
  });
  check::rule("interface MTU and path MTU are told, a probe is sent whole or refused" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    const int32_t* words = udp.words + ENDPOINT_WORDS;
    const int fd = udp.near.fd.get();
    CHECK(interfaceMtu("lo") == MTU_BYTES);
    CHECK(udpPathMtu(fd, words) == MTU_BYTES);
    CHECK(udpPathMtu(-1, words) == -EBADF);
    const Bytes probe = frameOf(underlay.mostBytes + 1);
    const int most = static_cast<int>(underlay.mostBytes);
    CHECK(udpSendProbe(fd, words, udp.far.port, probe.data(), probe.size()) == -EMSGSIZE);
    CHECK(udpSendProbe(fd, words, udp.far.port, probe.data(), probe.size() - 1) == most);
    CHECK(udp.received() == std::vector<Bytes>({Bytes(probe.begin(), probe.end() - 1)}));
  });
}

/// Sends row 0 and gives back what arrived.
std::vector<Bytes> sendOne(const Underlay& underlay, OwnedBurst& burst) {
  UdpFixture udp(underlay.near, underlay.far);
  auto sender = std::make_unique<UdpSender>(true, underlay.family);
  CHECK(sender->send(udp.near.fd.get(), burst.burst, 1, udp.endpoints()) == 0);
  return udp.received();
}

/// Splits what arrived into datagrams' fragments, by the more-fragments flag, and reassembles each.
std::vector<Bytes> reassembleAll(const std::vector<Bytes>& arrived, size_t most) {
  std::vector<Bytes> out;
  std::vector<Bytes> open;
  for (const Bytes& one : arrived) {
    open.push_back(one);
    if ((one[6] & 0x20) != 0) continue;
    std::string wrong;
    out.push_back(reference::reassemble(open, most, wrong));
    CHECK_CASE(wrong.empty(), wrong);
    open.clear();
  }
  CHECK(open.empty());
  return out;
}

void cutRules(const Underlay& underlay, const std::string& over) {
  check::rule("an ordinary frame is cut into fragments, one that fits goes whole" + over, [&] {
    for (const int cut : {28, 576, 1280, 2999, 3000}) {
      OwnedBurst burst(1, 65536);
      const Bytes frame = frameOf(3000);
      burst.put(0, 64, frame, {}, 1, 1);
      burst.burst.cut[0] = cut;
      check::setLoopbackMtu(9000);
      const std::vector<Bytes> arrived = sendOne(underlay, burst);
      check::setLoopbackMtu(MTU_BYTES);
      CHECK((arrived.size() == 1) == (cut == 3000));
      CHECK(reassembleAll(arrived, static_cast<size_t>(cut)) == std::vector<Bytes>({frame}));
      CHECK(burst.burst.lost[0] == 0);
    }
  });
  check::rule("superframes are cut into segments, and those into fragments" + over, [&] {
    for (const bool tcp : {true, false}) {
      OwnedBurst burst(1, 65536 + 64);
      Packet whole = packet(50000, 7, tcp);
      whole.dontFragment = false;
      whole.ipOptions = {0x88, 4, 1, 2};
      const int cut = 52;  // a fragment's data begins inside the transport header: 24 bytes of header, 24 of data
      burst.put(0, 64, build(whole), superframe(whole, 1432), 35, 1);
      burst.burst.cut[0] = cut;
      burst.burst.outerClass[0] = 0x50;
      CHECK(reassembleAll(sendOne(underlay, burst), cut) == reference::segment(whole, 1432));
      CHECK(burst.burst.lost[0] == 0);
    }
  });
  check::rule("rows that are cut keep their place among the others" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    OwnedBurst burst(8, 65536);
    std::vector<Bytes> expected;
    for (uint32_t row = 0; row < 8; row++) {
      const Bytes frame = frameOf(row % 3 == 1 ? 900 : 200, static_cast<uint8_t>(row));
      burst.put(row, 64 + row * 1024, frame, {}, 1, 1);
      burst.burst.cut[row] = row % 3 == 1 ? 500 : CUT_NONE;
      expected.push_back(frame);
    }
    auto sender = std::make_unique<UdpSender>(true, underlay.family);
    CHECK(sender->send(udp.near.fd.get(), burst.burst, 8, udp.endpoints()) == 0);
    CHECK(reassembleAll(udp.received(), 500) == expected);
  });
  check::rule("a frame that cannot be cut is lost with EMSGSIZE, and costs no other" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    OwnedBurst burst(8, 65536);
    Packet whole = packet(1000, 7, true);
    burst.put(0, 64, frameOf(200), {}, 1, 1);
    burst.put(1, 1024, frameOf(200), {}, 1, 1);
    burst.put(2, 2048, build(packet(200)), {}, 1, 1);                // DF
    burst.put(3, 4096, build(whole), superframe(whole, 300), 4, 1);  // DF; the last segment fits
    burst.put(4, 8192, frameOf(200), {}, 1, 1);
    burst.burst.cut[1] = 27;
    burst.burst.cut[2] = 100;
    burst.burst.cut[3] = 200;
    auto sender = std::make_unique<UdpSender>(true, underlay.family);
    CHECK(sender->send(udp.near.fd.get(), burst.burst, 5, udp.endpoints()) == 0);
    CHECK(sender->rowsWithLoss() == 3);
    CHECK(burst.burst.lost[1] == 1 && burst.burst.lost[2] == 1 && burst.burst.lost[3] == 3);
    for (const uint32_t row : {1u, 2u, 3u}) CHECK(burst.burst.lostErrno[row] == EMSGSIZE);
    CHECK(udp.received() == std::vector<Bytes>({frameOf(200), reference::segment(whole, 300).back(), frameOf(200)}));
  });
  check::rule("a frame is lost once, however many of its fragments are" + over, [&] {
    OwnedBurst burst(1, 65536);
    Packet whole = packet(3 * 4100, 7, false);
    whole.dontFragment = false;
    burst.put(0, 64, build(whole), superframe(whole, 4100), 3, 1);
    burst.burst.cut[0] = static_cast<int32_t>(underlay.mostBytes) + 8;
    const size_t arrived = sendOne(underlay, burst).size();  // the last fragments, which are shorter
    CHECK(burst.burst.lost[0] == 3 && burst.burst.lostErrno[0] == EMSGSIZE);
    CHECK(arrived == 3);
  });
}

void icmpRules(const Underlay& underlay, const std::string& over) {
  check::rule("an ICMP error about one peer fails no send to another, and no receive" + over, [&] {
    UdpFixture udp(underlay.near, underlay.far);
    UdpFixture gone(underlay.other);
    int32_t words[3 * ENDPOINT_WORDS] = {};
    putWords(udp.far, underlay.family, words + ENDPOINT_WORDS);
    putWords(gone.near, underlay.family, words + 2 * ENDPOINT_WORDS);
    gone.near.fd = UniqueFd();
    OwnedBurst burst(9, 65536);
    OwnedBurst in(UdpReceiver::MAX_DATAGRAMS, UdpReceiver::SLAB_BYTES);
    auto receiver = std::make_unique<UdpReceiver>(in.burst, COALESCE_TCP4, underlay.family);
    auto sender = std::make_unique<UdpSender>(true, underlay.family);
    const long before = check::icmpErrorsReceived(underlay.family);
    for (uint32_t row = 0; row < 9; row++) {
      burst.put(row, 64 + row * 256, frameOf(100, static_cast<uint8_t>(row)), {}, 1, row % 2 == 0 ? 2 : 1);
    }
    for (int round = 0; round < 3; round++) {
      CHECK(sender->send(udp.near.fd.get(), burst.burst, 9, {words, 3}) == 0);
      CHECK(sender->rowsWithLoss() == 0);
      CHECK(receiver->recvBurst(udp.near.fd.get()) == 0);
      CHECK(udp.received().size() == 4);
    }
    CHECK(check::icmpErrorsReceived(underlay.family) > before);
    int error = -1;
    socklen_t size = sizeof(error);
    CHECK(::getsockopt(udp.near.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
  });
  check::rule("an ICMP error that names a smaller MTU is learned for that peer only, and fails nothing else" + over,
              [&] {
                UdpFixture udp(underlay.near, underlay.far);
                UdpFixture other(underlay.other);
                int32_t words[3 * ENDPOINT_WORDS] = {};
                putWords(udp.far, underlay.family, words + ENDPOINT_WORDS);
                putWords(other.near, underlay.family, words + 2 * ENDPOINT_WORDS);
                const long before = check::icmpErrorsReceived(underlay.family);
                check::sayTooBig(underlay.family, boundAddress(udp.near, underlay.family),
                                 boundAddress(udp.far, underlay.family), 1300);
                CHECK(check::icmpErrorsReceived(underlay.family) == before + 1);
                CHECK(udpPathMtu(udp.near.fd.get(), words + ENDPOINT_WORDS) == 1300);
                CHECK(udpPathMtu(udp.near.fd.get(), words + 2 * ENDPOINT_WORDS) == MTU_BYTES);
                OwnedBurst burst(3, 65536);
                OwnedBurst in(UdpReceiver::MAX_DATAGRAMS, UdpReceiver::SLAB_BYTES);
                auto receiver = std::make_unique<UdpReceiver>(in.burst, COALESCE_TCP4, underlay.family);
                CHECK(receiver->recvBurst(udp.near.fd.get()) == 0);
                burst.put(0, 64, frameOf(underlay.mostBytes), {}, 1, 1);
                burst.put(1, 4096, frameOf(underlay.mostBytes), {}, 1, 2);
                burst.put(2, 8192, frameOf(underlay.mostBytes - 100), {}, 1, 1);
                auto sender = std::make_unique<UdpSender>(true, underlay.family);
                CHECK(sender->send(udp.near.fd.get(), burst.burst, 3, {words, 3}) == 0);
                CHECK(burst.burst.lost[0] == 1 && burst.burst.lostErrno[0] == EMSGSIZE);
                CHECK(burst.burst.lost[1] == 0 && burst.burst.lost[2] == 0);
                CHECK(udp.received() == std::vector<Bytes>({frameOf(underlay.mostBytes - 100)}));
              });
}

void steeringRules(const Underlay& underlay, const std::string& over) {
  check::rule("of sockets that share a port each gets whole inner flows, of both families" + over, [&] {
    UdpSocketOptions options;
    options.address = underlay.near;
    options.reusePort = true;
    const UdpSocket first = openUdp(options);
    options.port = first.port;
    const UdpSocket second = openUdp(options);
    steerUdpSockets(first.fd.get(), 2);
    int32_t endpoint[ENDPOINT_WORDS];
    putWords(first, underlay.family, endpoint);
    UdpFixture from(underlay.far);
    for (const bool ipv6 : {false, true}) {
      int both = 0;
      int counts[2] = {};
      for (uint8_t flow = 0; flow < 64; flow++) {
        Packet one = packet(20);
        one.ipv6 = ipv6;
        one.source[3] = flow;
        const Bytes frame = build(one);
        for (int i = 0; i < 3; i++) udpSendProbe(from.near.fd.get(), endpoint, first.port, frame.data(), frame.size());
        Bytes got(2048);
        int mine[2] = {};
        while (::recv(first.fd.get(), got.data(), got.size(), MSG_DONTWAIT) > 0) mine[0]++;
        while (::recv(second.fd.get(), got.data(), got.size(), MSG_DONTWAIT) > 0) mine[1]++;
        CHECK(mine[0] + mine[1] == 3);
        if (mine[0] > 0 && mine[1] > 0) both++;
        for (int i = 0; i < 2; i++) counts[i] += mine[i];
      }
      CHECK(both == 0 && counts[0] > 0 && counts[1] > 0);
    }
  });
}

void setUpRules() {
  check::rule("an IPv6 socket takes no IPv4: one port serves both families", [] {
    UdpSocketOptions options;
    options.address = "::";
    const UdpSocket six = openUdp(options);
    options.address = "0.0.0.0";
    options.port = six.port;
    CHECK(openUdp(options).port == six.port);
  });
  check::rule("a busy IPv6 port and a text that is no address are refused with a remedy", [] {
    UdpSocketOptions options;
    options.address = "fd00::1";
    const UdpSocket first = openUdp(options);
    options.port = first.port;
    for (const int expected : {EADDRINUSE, EINVAL}) {
      int errorNumber = 0;
      try {
        openUdp(options);
      } catch (const SetUpError& error) {
        errorNumber = error.errorNumber;
        CHECK(std::strlen(remedyFor(error)) > 0);
      }
      CHECK(errorNumber == expected);
      options.address = "fd00:::1";
    }
  });
  check::rule("an interface that does not exist has no MTU", [] {
    CHECK(interfaceMtu("nosuch0") == -ENODEV);
    CHECK(interfaceMtu("a-name-of-more-than-15-bytes") == -ENODEV);
    CHECK(interfaceMtu("") == -ENODEV);
  });
}

}  // namespace

int main() {
  check::enterPrivateLoopback();
  check::setLoopbackMtu(MTU_BYTES);
  for (const Underlay& underlay : UNDERLAYS) {
    const std::string over = std::string(", over ") + underlay.name;
    classRules(underlay, over);
    sizeRules(underlay, over);
    cutRules(underlay, over);
    icmpRules(underlay, over);
    steeringRules(underlay, over);
  }
  setUpRules();
  return check::finish();
}
