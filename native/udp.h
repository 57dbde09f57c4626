// The UDP side: opening the socket, receiving trains of datagrams, sending trains with segmentation offload.
// Kernel file: system calls, no Node.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <vector>

#include "burst.h"
#include "coalesce.h"
#include "segment.h"
#include "unique_fd.h"

namespace selvage {

struct UdpSocketOptions {
  uint32_t address = 0;  // IPv4, host order
  uint16_t port = 0;     // 0: the kernel chooses
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

/// @throws SetUpError
UdpSocket openUdp(const UdpSocketOptions& options);

/// Datagrams the kernel dropped because the socket's receive buffer was full, since it was opened, modulo 2^32.
/// @returns -errno when the socket cannot tell
int64_t udpReceiveOverflow(int fd);

/// Where the frames of a next hop go: two words per next-hop id, [IPv4 address in host order, port].
struct Endpoints {
  const int32_t* words = nullptr;
  uint32_t count = 0;
};

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

  UdpReceiver(const Burst& burst, uint32_t coalesceKinds);

  /// Fills offset, length, segments, wireBytes and source with what came, joined into superframes.
  /// @returns frames (0: nothing there), or -errno. `datagrams()` tells how many datagrams they came in.
  int recvBurst(int fd);

  uint32_t datagrams() const { return datagrams_; }
  const Coalescer& coalescer() const { return coalescer_; }

 private:
  void takeMessage(uint32_t index);

  struct alignas(cmsghdr) Control {
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
  };
  Burst burst_;
  Coalescer coalescer_;
  uint32_t datagrams_ = 0;
  mmsghdr messages_[MESSAGES];
  iovec pieces_[MESSAGES];
  sockaddr_in sources_[MESSAGES];
  Control controls_[MESSAGES];
};

/// Sends the frames of a burst: superframes cut into segments, small frames joined into trains.
class UdpSender {
 public:
  explicit UdpSender(bool gso);

  /// Sends rows `0..count-1` with fate > 0, in order. Row loss is written to burst.lost.
  /// @returns messages that the full socket buffer refused (call resume or abandon), 0 when all is done
  int send(int fd, const Burst& burst, uint32_t count, const Endpoints& endpoints);

  /// Goes on after the socket became writable.
  int resume(int fd);

  /// Gives up on what is left; its rows are lost with EAGAIN.
  void abandon();

  /// Whether a send was refused and neither resumed to its end nor abandoned: it still uses its endpoints.
  bool pending() const { return sent_ < trainCount_; }
  /// Rows of which something was lost since send() was called.
  uint32_t rowsWithLoss() const { return rowsWithLoss_; }
  /// False once the kernel or the device refused segmentation offload (EIO): each datagram then leaves alone.
  bool gso() const { return gso_; }
  uint64_t systemCalls() const { return systemCalls_; }

 private:
  static constexpr uint32_t MESSAGES = 64;
  static constexpr uint32_t PIECES = 2048;
  static constexpr uint32_t HEADER_STRIDE = 128;
  static constexpr uint32_t HEADERS = PIECES / 2;
  /// Linux UDP_MAX_SEGMENTS was 64 until 6.9.
  static constexpr uint32_t TRAIN_DATAGRAMS = 64;
  static constexpr uint32_t TRAIN_BYTES = 65507;

  /// What a message carries, for the account of what was lost.
  struct Train {
    uint32_t firstRow;
    uint32_t lastRow;       // inclusive; rows between with fate <= 0 are not in it
    uint32_t datagrams;
    uint32_t bytes;
    uint32_t datagramBytes;  // of every datagram but perhaps the last
    uint32_t firstPiece;
    uint32_t nextHop;
    bool superframe;         // pieces are header, payload, header, payload...; else one piece a datagram
    bool closed;             // a shorter last datagram, or another reason, ends it
  };

  int advance(int fd);
  bool fill();
  bool addPlain(uint32_t row);
  bool addSuperframe(uint32_t row);
  bool joinsLast(uint32_t row) const;
  Train* openTrain(uint32_t row, bool superframe, uint32_t datagramBytes);
  void prepareMessages();
  int flush(int fd);
  void onRefused(int fd, uint32_t message, int errorNumber);
  void sendOneByOne(int fd, const Train& train);
  void lose(const Train& train, int errorNumber);
  void rejectRow(uint32_t row, int32_t frames, int errorNumber);
  void loseRow(uint32_t row, int32_t frames, int errorNumber);

  struct alignas(cmsghdr) Control {
    uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
  };
  bool gso_;
  Burst burst_;
  Endpoints endpoints_;
  uint32_t count_ = 0;
  uint32_t row_ = 0;       // next row to take
  uint32_t segment_ = 0;   // next segment of that row, when it is a superframe that is partly taken
  uint32_t trainCount_ = 0;
  uint32_t sent_ = 0;      // messages done with, of trainCount_
  uint32_t piecesUsed_ = 0;
  uint32_t headersUsed_ = 0;
  uint32_t rowsWithLoss_ = 0;
  uint64_t systemCalls_ = 0;
  std::vector<uint8_t> headers_;
  Train trains_[MESSAGES];
  mmsghdr messages_[MESSAGES];
  iovec pieces_[PIECES];
  sockaddr_in destinations_[MESSAGES];
  Control controls_[MESSAGES];
};

}  // namespace selvage
