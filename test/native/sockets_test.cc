// tun.cc, udp.cc and udp_sender.cc against real sockets: a socket pair stands for the TUN queue (each read is one
// frame, as there), and UDP goes over loopback.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "../../native/set_up_error.h"
#include "../../native/tun.h"
#include "socket_fixture.h"

namespace {

using check::LOOPBACK_TEXT;
using check::OwnedBurst;
using check::packet;
using check::superframe;
using check::UdpFixture;
using reference::Bytes;
using reference::Packet;
using namespace selvage;

constexpr uint32_t LOOPBACK = 0x7f000001;

/// Two ends of a TUN queue.
struct TunPair {
  TunPair() { ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds); }
  ~TunPair() {
    ::close(fds[0]);
    ::close(fds[1]);
  }
  void kernelGives(const VnetHeader& vnet, const Bytes& frame) const {
    Bytes whole(sizeof(vnet));
    std::memcpy(whole.data(), &vnet, sizeof(vnet));
    reference::append(whole, frame);
    CHECK(::write(fds[1], whole.data(), whole.size()) == static_cast<ssize_t>(whole.size()));
  }
  int fds[2];
};

void tunRules() {
  check::rule("frames are read until the queue is dry, with room before each for its virtio-net header", [] {
    TunPair tun;
    OwnedBurst burst(8, 4 * 65536);
    const Bytes first = build(packet(10));
    const Bytes second = build(packet(1400));
    tun.kernelGives({}, first);
    tun.kernelGives({}, second);
    CHECK(tunRecvBurst(tun.fds[0], burst.burst, 8) == 2);
    CHECK(burst.frame(0) == first && burst.frame(1) == second);
    CHECK(burst.burst.segments[0] == 1 && burst.burst.wireBytes[1] == static_cast<int32_t>(second.size()));
    CHECK(tunRecvBurst(tun.fds[0], burst.burst, 8) == 0);
  });
  check::rule("reading stops when every row is used or the slab has no room for another 64 KiB", [] {
    TunPair tun;
    OwnedBurst rows(2, 4 * 65536);
    OwnedBurst bytes(8, 65536 + 128);
    for (int i = 0; i < 4; i++) tun.kernelGives({}, build(packet(10)));
    CHECK(tunRecvBurst(tun.fds[0], rows.burst, 8) == 2);
    CHECK(tunRecvBurst(tun.fds[0], bytes.burst, 8) == 1);
  });
  check::rule("the partial checksum of an ordinary frame is completed", [] {
    TunPair tun;
    OwnedBurst burst(8, 4 * 65536);
    const Packet whole = packet(100);
    const Bytes right = build(whole);
    VnetHeader vnet = superframe(whole, 0);
    vnet.gsoType = VNET_GSO_NONE;
    tun.kernelGives(vnet, buildPartial(whole));
    CHECK(tunRecvBurst(tun.fds[0], burst.burst, 8) == 1);
    CHECK(burst.frame(0) == right);
  });
  check::rule("a superframe is counted in segments and by its largest", [] {
    TunPair tun;
    OwnedBurst burst(8, 4 * 65536);
    const Packet whole = packet(3000, 1, true);
    tun.kernelGives(superframe(whole, 1000), build(whole));
    CHECK(tunRecvBurst(tun.fds[0], burst.burst, 8) == 1);
    CHECK(burst.burst.segments[0] == 3 && burst.burst.wireBytes[0] == 1040);
  });
  check::rule("a superframe of one segment becomes an ordinary frame", [] {
    TunPair tun;
    OwnedBurst burst(8, 4 * 65536);
    const Packet whole = packet(500, 1, true);
    Bytes partial = build(whole);
    reference::set16(partial, 2, 0);       // the kernel need not have written the length
    reference::set16(partial, 36, 12345);  // nor a checksum that is right
    tun.kernelGives(superframe(whole, 1000), partial);
    CHECK(tunRecvBurst(tun.fds[0], burst.burst, 8) == 1);
    CHECK(burst.burst.segments[0] == 1);
    CHECK(burst.frame(0) == build(whole));
  });
  check::rule("a frame whose gso fields lie has no segments", [] {
    TunPair tun;
    OwnedBurst burst(8, 4 * 65536);
    const Packet whole = packet(3000, 1, true);
    VnetHeader lie = superframe(whole, 1000);
    lie.csumStart = 60000;
    tun.kernelGives(lie, build(whole));
    lie = superframe(whole, 0);
    tun.kernelGives(lie, build(whole));
    lie = superframe(whole, 1000);
    lie.gsoType = VNET_GSO_NONE;
    lie.csumStart = 4;  // would rewrite the IP header
    tun.kernelGives(lie, build(whole));
    tun.kernelGives(superframe(whole, 1000), {});
    CHECK(tunRecvBurst(tun.fds[0], burst.burst, 8) == 4);
    for (uint32_t row = 0; row < 4; row++) CHECK(burst.burst.segments[row] == 0);
  });
  check::rule("plain rows outside the slab are lost, not written", [] {
    TunPair tun;
    OwnedBurst burst(5, 256);
    burst.put(0, 64, build(packet(4)), {}, 1, 0);
    burst.burst.offset[1] = -1;
    burst.burst.length[1] = 10;
    burst.burst.offset[2] = 250;
    burst.burst.length[2] = 10;
    burst.burst.offset[3] = 0x7fffffff;
    burst.burst.length[3] = 0x7fffffff;
    burst.burst.fate[4] = -1;
    CHECK(tunSendPlain(tun.fds[0], burst.burst, 5) == 3);
    CHECK(burst.burst.lost[0] == 0 && burst.burst.lost[1] == 1 && burst.burst.lost[4] == 0);
    CHECK(burst.burst.lostErrno[2] == EFAULT);
  });
  check::rule("a deleted device is an error of the first read", [] {
    OwnedBurst burst(8, 4 * 65536);
    CHECK(tunRecvBurst(-1, burst.burst, 8) == -EBADF);
  });
}

void sendRules() {
  check::rule("frames of one flow and length leave as a train, in order, the shorter last one with them", [] {
    UdpFixture udp;
    OwnedBurst burst(8, 65536);
    std::vector<Bytes> expected;
    for (uint32_t row = 0; row < 4; row++) {
      Packet one = packet(row == 3 ? 20 : 64);
      one.payload[0] = static_cast<uint8_t>(row);
      expected.push_back(build(one));
      burst.put(row, 64 + row * 256, expected.back(), {}, 1, 1);
    }
    UdpSender sender(true, AF_INET);
    CHECK(sender.send(udp.near.fd.get(), burst.burst, 4, udp.endpoints()) == 0);
    CHECK(sender.systemCalls() == 1 && sender.rowsWithLoss() == 0);
    CHECK(udp.received() == expected);
  });
  check::rule("flows, lengths and refused rows between them change nothing in the order", [] {
    UdpFixture udp;
    OwnedBurst burst(64, 65536);
    std::vector<Bytes> expected;
    for (uint32_t row = 0; row < 40; row++) {
      const bool refused = row % 5 == 2;
      const Bytes bytes = build(packet(1 + (row * 37) % 90, static_cast<uint16_t>(1 + row % 3)));
      burst.put(row, 64 + row * 256, bytes, {}, 1, refused ? -3 : 1);
      if (!refused) expected.push_back(bytes);
    }
    UdpSender sender(true, AF_INET);
    CHECK(sender.send(udp.near.fd.get(), burst.burst, 40, udp.endpoints()) == 0);
    CHECK(udp.received() == expected);
  });
  for (const bool gso : {true, false}) {
    const std::string how = gso ? "with" : "without";
    check::rule("superframes are cut as the reference cuts them, " + how + " segmentation offload", [gso] {
      UdpFixture udp;
      OwnedBurst burst(4, 3 * 65536);
      const Packet tcp = packet(60000, 1, true);
      const Packet datagrams = packet(5000, 2);
      burst.put(0, 64, build(tcp), superframe(tcp, 1432), 42, 1);
      burst.put(1, 65536, build(datagrams), superframe(datagrams, 100), 50, 1);
      std::vector<Bytes> expected = reference::segment(tcp, 1432);
      for (const Bytes& one : reference::segment(datagrams, 100)) expected.push_back(one);
      UdpSender sender(gso, AF_INET);
      CHECK(sender.send(udp.near.fd.get(), burst.burst, 2, udp.endpoints()) == 0);
      CHECK(sender.rowsWithLoss() == 0);
      CHECK(udp.received() == expected);
    });
  }
  check::rule("a superframe of more segments than the arenas hold leaves whole", [] {
    UdpFixture udp;
    OwnedBurst burst(1, 2 * 65536);
    const Packet tiny = packet(3000, 1, true);
    burst.put(0, 64, build(tiny), superframe(tiny, 1), 3000, 1);
    UdpSender sender(true, AF_INET);
    CHECK(sender.send(udp.near.fd.get(), burst.burst, 1, udp.endpoints()) == 0);
    CHECK(udp.received() == reference::segment(tiny, 1));
  });
  check::rule("rows that point outside the slab or to no next hop are lost and cost no other row", [] {
    UdpFixture udp;
    OwnedBurst burst(8, 4096);
    const Bytes good = build(packet(64));
    for (uint32_t row = 0; row < 7; row++) burst.put(row, 64 + row * 256, good, {}, 1, 1);
    burst.burst.offset[1] = 4090;  // ends outside
    burst.burst.offset[2] = 3;     // no room for the virtio-net header
    burst.burst.length[3] = -1;
    burst.burst.fate[4] = 2;  // ids are 0 and 1
    burst.burst.segments[5] = 0;
    UdpSender sender(true, AF_INET);
    CHECK(sender.send(udp.near.fd.get(), burst.burst, 7, udp.endpoints()) == 0);
    CHECK(sender.rowsWithLoss() == 5);
    for (const uint32_t row : {1u, 2u, 3u, 4u, 5u}) CHECK(burst.burst.lost[row] == 1);
    CHECK(udp.received() == std::vector<Bytes>({good, good}));
  });
  check::rule("a superframe whose header was changed to a lie is lost whole", [] {
    UdpFixture udp;
    OwnedBurst burst(2, 65536);
    const Packet tcp = packet(3000, 1, true);
    burst.put(0, 64, build(tcp), superframe(tcp, 1000), 3, 1);
    burst.burst.slab[64] = 0x4f;
    UdpSender sender(true, AF_INET);
    CHECK(sender.send(udp.near.fd.get(), burst.burst, 1, udp.endpoints()) == 0);
    CHECK(burst.burst.lost[0] == 3 && burst.burst.lostErrno[0] == EINVAL);
    CHECK(udp.received().empty());
  });
}

void receiveRules() {
  check::rule("datagrams come joined, with their source, an empty one as a frame of no bytes", [] {
    UdpFixture udp;
    OwnedBurst burst(UdpReceiver::MAX_DATAGRAMS, UdpReceiver::SLAB_BYTES);
    auto receiver = std::make_unique<UdpReceiver>(burst.burst, COALESCE_TCP4 | COALESCE_UDP4, AF_INET);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(LOOPBACK);
    to.sin_port = htons(udp.near.port);
    const Packet tcp = packet(2864, 1, true);
    for (const Bytes& one : reference::segment(tcp, 1432)) {
      ::sendto(udp.far.fd.get(), one.data(), one.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
    }
    ::sendto(udp.far.fd.get(), "", 0, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
    CHECK(receiver->recvBurst(udp.near.fd.get()) == 2);
    CHECK(receiver->datagrams() == 3);
    CHECK(burst.burst.segments[0] == 2 && burst.burst.wireBytes[0] == 1472);
    CHECK(burst.burst.source[0] == static_cast<int32_t>(LOOPBACK));
    CHECK(burst.burst.length[1] == 0 && burst.burst.segments[1] == 1);
    CHECK(receiver->recvBurst(udp.near.fd.get()) == 0);
  });
}

void setUpRules() {
  check::rule("a busy port and a foreign address are refused with a remedy", [] {
    UdpFixture udp;
    UdpSocketOptions options;
    options.address = LOOPBACK_TEXT;
    options.port = udp.near.port;
    int errorNumber = 0;
    try {
      openUdp(options);
    } catch (const SetUpError& error) {
      errorNumber = error.errorNumber;
      CHECK(std::strlen(remedyFor(error)) > 0);
    }
    CHECK(errorNumber == EADDRINUSE);
    options.address = "192.0.2.1";  // RFC 5737
    try {
      openUdp(options);
    } catch (const SetUpError& error) {
      errorNumber = error.errorNumber;
      CHECK(std::strlen(remedyFor(error)) > 0);
    }
    CHECK(errorNumber == EADDRNOTAVAIL);
  });
}

}  // namespace

int main() {
  tunRules();
  sendRules();
  receiveRules();
  setUpRules();
  return check::finish();
}
