// The UDP side's socket, and receiving trains of datagrams from it. Kernel file: system calls, no Node.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "burst.h"
#include "coalesce.h"
#include "socket_address.h"
#include "unique_fd.h"

namespace selvage {

struct UdpSocketOptions {
  std::string address;  // IPv4 or IPv6, as text; the socket is of that family only
  uint16_t port = 0;    // 0: the kernel chooses
  bool reusePort = false;
  bool gro = true;
  int receiveBufferBytes = 0;
  int sendBufferBytes = 0;
};

/// What was opened, and what the kernel granted.
struct UdpSocket {
  UniqueFd fd;
  uint16_t port = 0;
  bool gso = false;  // UDP_SEGMENT, Linux 4.18
  bool gro = false;  // UDP_GRO, Linux 5.0
  int receiveBufferBytes = 0;
  int sendBufferBytes = 0;
};

/// The kernel never fragments what leaves by this socket: a datagram larger than its path takes is refused with
/// EMSGSIZE. ICMP errors are not reported by it (no IP_RECVERR): one peer's can fail no call that serves another.
/// @throws SetUpError
UdpSocket openUdp(const UdpSocketOptions& options);

/// AF_INET or AF_INET6; AF_INET where the descriptor is no socket, whose first use then fails.
int udpFamily(int fd);

/// Turns outer fragmentation on or off: fragments may be made on this host and, of IPv4, on the path.
void allowOuterFragments(int fd, int family, bool allowed);

/// Datagrams the kernel dropped because the socket's receive buffer was full, since it was opened, modulo 2^32.
/// @returns -errno when the socket cannot tell
int64_t udpReceiveOverflow(int fd);

/// Receives trains of datagrams into a burst's slab and joins their segments.
class UdpReceiver {
 public:
  /// Most messages one receive takes, and the datagrams they can hold: a train that crosses a virtual link unsegmented
  /// has at most 128 (Linux UDP_MAX_SEGMENTS).
  static constexpr uint32_t MESSAGES = 32;
  static constexpr uint32_t MAX_DATAGRAMS = MESSAGES * 128;
  /// Bytes between two messages in the slab: a whole train, and cache lines that do not all fall in one set.
  static constexpr size_t MESSAGE_STRIDE = 65536 + 9 * 64;
  static constexpr size_t SLAB_BYTES = MESSAGES * MESSAGE_STRIDE;

  /// @param family of the socket: AF_INET or AF_INET6
  UdpReceiver(const Burst& burst, uint32_t coalesceKinds, int family);

  /// Fills offset, length, segments, wireBytes, source and outerClass with what came, joined into superframes.
  /// Datagrams are joined only when they came from one address with one outer traffic class.
  /// @returns frames (0: nothing there), or -errno. `datagrams()` tells how many datagrams they came in.
  int recvBurst(int fd);

  uint32_t datagrams() const { return datagrams_; }
  const Coalescer& coalescer() const { return coalescer_; }

 private:
  /// What the kernel says beside a message's bytes.
  struct Said {
    uint32_t trainBytes;  // of each datagram of a train, 0 when the message is one datagram
    uint8_t outerClass;
  };
  struct Address {
    int32_t words[ADDRESS_WORDS];
    bool operator==(const Address&) const = default;
  };

  void takeMessage(uint32_t index);
  static Said readControl(msghdr* header);
  uint32_t sourceOf(uint32_t index);

  struct alignas(cmsghdr) Control {
    uint8_t bytes[2 * CMSG_SPACE(sizeof(int))];  // segment size of a train, traffic class
  };
  Burst burst_;
  Coalescer coalescer_;
  int family_;
  uint32_t datagrams_ = 0;
  uint32_t addressCount_ = 0;
  Address addresses_[MESSAGES];  // of this receive, each once
  mmsghdr messages_[MESSAGES];
  iovec pieces_[MESSAGES];
  SocketAddress sources_[MESSAGES];
  Control controls_[MESSAGES];
};

}  // namespace selvage
