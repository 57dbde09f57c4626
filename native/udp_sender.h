// Sends the frames of a burst as trains of datagrams, with segmentation offload. Kernel file: system calls, no Node.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <vector>

#include "burst.h"
#include "segment.h"
#include "socket_address.h"

namespace selvage {

/// Words of an endpoint: an address, then the UDP port (src/routing/route_table.ts).
constexpr uint32_t ENDPOINT_WORDS = ADDRESS_WORDS + 1;

/// Where the frames of a next hop go: ENDPOINT_WORDS words per next-hop id.
struct Endpoints {
  const int32_t* words = nullptr;
  uint32_t count = 0;
};

/// Sends the frames of a burst: superframes cut into segments, small frames joined into trains, and frames that the
/// row's `cut` says are too large cut into IPv4 fragments. Each leaves with the row's outer traffic class.
class UdpSender {
 public:
  /// @param family of the socket and of the endpoints: AF_INET or AF_INET6
  UdpSender(bool gso, int family);

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

  enum class Kind : uint8_t {
    FRAMES,    // ordinary frames, one piece a datagram
    SEGMENTS,  // of one superframe: header, payload, header, payload...
    FRAGMENT,  // one datagram: a fragment of a frame, or a frame of a row that is cut and needed it not
  };

  /// What a message carries, for the account of what was lost.
  struct Train {
    uint32_t firstRow;
    uint32_t lastRow;  // inclusive; rows between with fate <= 0 are not in it
    uint32_t datagrams;
    uint32_t bytes;
    uint32_t datagramBytes;  // of every datagram but perhaps the last
    uint32_t firstPiece;
    uint32_t pieces;
    uint32_t nextHop;
    uint32_t segment;  // of a FRAGMENT: which frame of its row
    int32_t outerClass;
    Kind kind;
    bool outerFragments;  // the kernel may fragment the datagram
    bool closed;          // a shorter last datagram, or another reason, ends it
  };

  /// An ordinary frame or a segment, which lies in one or two places.
  struct Parts {
    iovec start;  // the IP header is in it
    iovec rest;
  };

  int advance(int fd);
  bool fill();
  bool addPlain(uint32_t row);
  bool addSuperframe(uint32_t row);
  bool addCut(uint32_t row);
  bool addCutFrame(uint32_t row, uint32_t segment, const Parts& frame);
  bool addFragments(uint32_t row, uint32_t segment, const Parts& frame);
  void addPart(Train* train, const Parts& frame, size_t from, size_t bytes);
  bool joinsLast(uint32_t row) const;
  Train* openTrain(uint32_t row, Kind kind, uint32_t datagramBytes);
  bool planRow(uint32_t row, SegmentPlan* plan);
  Parts stampNext(const SegmentPlan& plan);
  void prepareMessages();
  void prepareControl(uint32_t message);
  uint32_t messagesOfOneSetting() const;
  int flush(int fd);
  void onRefused(int fd, uint32_t message, int errorNumber);
  void sendOneByOne(int fd, const Train& train);
  void lose(const Train& train, int errorNumber);
  void loseFragment(const Train& train, int errorNumber);
  void rejectRow(uint32_t row, int32_t frames, int errorNumber);
  void loseRow(uint32_t row, int32_t frames, int errorNumber);

  /// The class, where there is one, then the segment size, where there is one.
  struct alignas(cmsghdr) Control {
    uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t))];
  };
  bool gso_;
  int family_;
  Burst burst_;
  Endpoints endpoints_;
  uint32_t count_ = 0;
  uint32_t row_ = 0;       // next row to take
  uint32_t segment_ = 0;   // next segment of that row, when it is a superframe that is partly taken
  uint32_t fragment_ = 0;  // next fragment of that segment, when it is partly taken
  uint32_t trainCount_ = 0;
  uint32_t sent_ = 0;  // messages done with, of trainCount_
  uint32_t piecesUsed_ = 0;
  uint32_t headersUsed_ = 0;
  uint32_t rowsWithLoss_ = 0;
  uint32_t lostRow_ = NONE;  // the frame that a fragment was lost of last
  uint32_t lostSegment_ = 0;
  bool anyOuterFragments_ = false;  // of the trains filled in
  uint64_t systemCalls_ = 0;
  std::vector<uint8_t> headers_;
  Train trains_[MESSAGES];
  mmsghdr messages_[MESSAGES];
  iovec pieces_[PIECES];
  SocketAddress destinations_[MESSAGES];
  Control controls_[MESSAGES];

  static constexpr uint32_t NONE = 0xffffffff;
};

}  // namespace selvage
