// What the tests against real sockets share: bursts with memory of their own, frames, and two UDP sockets.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../../native/udp.h"
#include "../../native/udp_sender.h"
#include "../reference/segment.h"
#include "burst.h"
#include "check.h"

namespace check {

using reference::Bytes;
using reference::Packet;
using namespace selvage;

constexpr const char* LOOPBACK_TEXT = "127.0.0.1";

/// A burst with memory of its own, each column exactly as long as it says so that AddressSanitizer sees its end.
struct OwnedBurst {
  OwnedBurst(uint32_t rows, size_t slabBytes) : slab(new uint8_t[slabBytes]()) {
    burst.slab = slab.get();
    burst.slabBytes = slabBytes;
    burst.rows = rows;
    int32_t** const fields[] = {&burst.offset,     &burst.length, &burst.segments, &burst.wireBytes, &burst.source,
                                &burst.outerClass, &burst.cut,    &burst.fate,     &burst.lost,      &burst.lostErrno};
    for (int32_t** field : fields) {
      columns.emplace_back(new int32_t[rows * (field == &burst.source ? ADDRESS_WORDS : 1)]());
      *field = columns.back().get();
    }
  }
  Bytes frame(uint32_t row) const {
    const uint8_t* at = burst.slab + burst.offset[row];
    return Bytes(at, at + burst.length[row]);
  }
  /// Puts a frame, with its virtio-net header before it, at an offset.
  void put(uint32_t row, uint32_t at, const Bytes& bytes, const VnetHeader& vnet, int32_t segments, int32_t fate) {
    std::memcpy(burst.slab + at - sizeof(vnet), &vnet, sizeof(vnet));
    std::memcpy(burst.slab + at, bytes.data(), bytes.size());
    burst.offset[row] = static_cast<int32_t>(at);
    burst.length[row] = static_cast<int32_t>(bytes.size());
    burst.segments[row] = segments;
    burst.fate[row] = fate;
  }
  std::unique_ptr<uint8_t[]> slab;
  std::vector<std::unique_ptr<int32_t[]>> columns;
  Burst burst;
};

inline Packet packet(size_t payloadBytes, uint16_t port = 1000, bool tcp = false) {
  Packet result;
  result.tcp = tcp;
  result.source = {10, 1, 1, 2};
  result.destination = {10, 1, 2, 2};
  result.sourcePort = port;
  result.destinationPort = 9;
  for (size_t i = 0; i < payloadBytes; i++) result.payload.push_back(static_cast<uint8_t>(i * 7));
  return result;
}

/// What the kernel hands over for a superframe: a partial checksum, which is the pseudo-header sum not complemented.
inline VnetHeader superframe(const Packet& whole, uint16_t gsoBytes) {
  VnetHeader vnet = check::superframeVnet(whole);
  vnet.gsoBytes = gsoBytes;
  return vnet;
}

/// Two sockets on a loopback address, one of which is the endpoint of next hop 1.
struct UdpFixture {
  explicit UdpFixture(const std::string& address = LOOPBACK_TEXT, const std::string& farAddress = "",
                      bool gro = false) {
    UdpSocketOptions options;
    options.address = address;
    options.receiveBufferBytes = options.sendBufferBytes = 4 << 20;
    options.gro = gro;
    near = openUdp(options);
    if (!farAddress.empty()) options.address = farAddress;
    options.gro = false;
    far = openUdp(options);
    family = udpFamily(near.fd.get());
    addressOf(far, words + ENDPOINT_WORDS);
    words[2 * ENDPOINT_WORDS - 1] = far.port;
  }
  /// The address a socket is bound to, as words.
  void addressOf(const UdpSocket& socket, int32_t* out) const {
    SocketAddress bound = emptySocketAddress(family);
    socklen_t bytes = socketAddressBytes(family);
    CHECK(::getsockname(socket.fd.get(), &bound.any, &bytes) == 0);
    takeAddress(bound, family, out);
  }
  Endpoints endpoints() const { return {words, 2}; }
  std::vector<Bytes> received() const {
    std::vector<Bytes> all;
    Bytes one(65536);
    pollfd entry = {far.fd.get(), POLLIN, 0};
    while (::poll(&entry, 1, 50) > 0) {
      const ssize_t got = ::recv(far.fd.get(), one.data(), one.size(), 0);
      if (got >= 0) all.emplace_back(one.begin(), one.begin() + got);
    }
    return all;
  }
  int family;
  UdpSocket near;
  UdpSocket far;
  int32_t words[2 * ENDPOINT_WORDS] = {};
};

}  // namespace check
