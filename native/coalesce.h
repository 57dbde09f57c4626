// Joins consecutive segments of one flow, over a whole burst of datagrams, into superframes that the kernel takes as
// one TUN write. The reverse of segment.h. Pure: no system call, no Node; allocates only in the constructor.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "virtio.h"

namespace selvage {

/// Which superframes the TUN device takes (its TUNSETOFFLOAD answer).
enum CoalesceKinds : uint32_t {
  COALESCE_TCP4 = 1,
  COALESCE_TCP6 = 2,
  COALESCE_UDP4 = 4,
  COALESCE_UDP6 = 8,
};

/// One frame to write to TUN: a superframe of several datagrams, or one datagram unchanged.
struct CoalescedFrame {
  uint8_t* head;       // first byte of the first datagram; its header is the superframe's header
  uint32_t bytes;      // of the whole frame
  uint32_t segments;   // datagrams in it, 1 or more
  uint32_t wireBytes;  // bytes of the first datagram: none in the frame is longer
  uint32_t source;     // as given to add(), and the next
  uint8_t outerClass;
  VnetHeader vnet;  // to be written before the frame
};

/// Joins as Linux tcp_gro_receive and udp_gro_receive do, more strictly where they are lenient:
/// - Two datagrams are of one flow when source, addresses, protocol and ports are equal. They join when also outer
///   class, IP header (TOS or traffic class, flow label, TTL, DF), TCP acknowledgment, window and options are equal,
///   sequence numbers and IPv4 identifications follow on, and the checksums are right. Where DF is set the
///   identification carries no meaning (RFC 6864 section 4.1) and is not compared: cut again, such a superframe has
///   consecutive ones.
/// - All datagrams of a superframe carry as much payload as the first; the last may carry less. PSH ends a superframe.
/// - A datagram that is not joined ends the open superframe of its flow, so that a flow keeps its order of arrival. One
///   whose ports cannot be read (fragment, IP options, IPv6 extension header, another protocol, wrong length) ends
///   those of its address pair.
class Coalescer {
 public:
  /// @param maxDatagrams most datagrams between begin() and finish()
  /// @param kinds a set of CoalesceKinds
  Coalescer(uint32_t maxDatagrams, uint32_t kinds);

  /// Forgets the last burst; pointers from it are no longer held.
  void begin();

  /// Takes one datagram, in order of arrival. Only datagrams of one `source` and one `outerClass` are joined; those of
  /// one source keep their order whatever their classes. The bytes are borrowed, and may be changed, until the next
  /// begin(). Any content is safe, `bytes` 0 included.
  /// @returns false when maxDatagrams is reached (the datagram was not taken)
  bool add(uint8_t* datagram, uint32_t bytes, uint32_t source, uint8_t outerClass);

  /// Writes the final headers: lengths, IPv4 header checksum, pseudo-header sum, PSH of the last segment.
  /// Frames are numbered in the order of their first datagrams; within a flow that is the order of arrival.
  /// Once per burst; no add() after it.
  /// @returns the number of frames
  uint32_t finish();

  /// Frames of the burst so far: the bound of `index` below.
  uint32_t frames() const { return chainCount_; }

  /// @param index below frames()
  const CoalescedFrame& frame(uint32_t index) const;

  /// Fills `out` with the pieces of a frame: the first datagram whole, then the payloads of the others.
  /// @returns pieces written (never more than MAX_SEGMENTS)
  uint32_t gather(uint32_t index, iovec* out) const;

  /// No superframe holds more datagrams (Linux UDP_MAX_SEGMENTS was 64 until 6.9) nor more bytes than IP can carry.
  static constexpr uint32_t MAX_SEGMENTS = 64;
  static constexpr uint32_t MAX_FRAME_BYTES = 65535;

 private:
  struct Candidate;  // one datagram as read: coalesce.cc

  struct Datagram {
    uint8_t* start;
    uint32_t bytes;
    uint32_t next;  // in the same frame, or NONE
  };

  /// A frame being built. Open while a slot points at it.
  struct Chain {
    CoalescedFrame frame;
    uint32_t first;  // index of a datagram
    uint32_t last;
    uint16_t headerBytes;   // 0 for a frame that was never joinable
    uint16_t payloadBytes;  // of the first datagram
    bool tcp;
    bool ipv6;
    bool verified;  // the first datagram's checksums were found right
    bool push;      // the last datagram has PSH
  };

  /// The open chain of one flow. Of this burst only when `generation` says so.
  struct Slot {
    uint32_t tag;    // hash of the flow
    uint32_t chain;  // or NONE
    uint16_t generation;
  };

  enum class Joined { YES, CANNOT, BAD_CHECKSUM };

  static constexpr uint32_t NONE = 0xffffffff;
  /// An attacker who picks ports for it can fill one neighbourhood of the table; the walk stays this short.
  static constexpr uint32_t MAX_PROBES = 8;
  static constexpr uint32_t PAIR_BUCKETS = 64;

  Slot* findSlot(uint32_t tag);
  Slot& claimSlot(uint32_t tag);
  uint32_t startChain(const Candidate& candidate, uint32_t datagram);
  Joined join(Chain& chain, const Candidate& candidate, uint32_t datagram);
  bool follows(const Chain& chain, const Candidate& candidate) const;
  void addJoinable(const Candidate& candidate, uint32_t datagram);

  const uint32_t kinds_;
  uint16_t generation_ = 0;
  uint32_t datagramCount_ = 0;
  uint32_t chainCount_ = 0;
  std::vector<Datagram> datagrams_;
  std::vector<Chain> chains_;
  std::vector<Slot> slots_;  // a power of two, at least twice the datagrams
  /// By hash of the address pair: 1 + index of the last datagram that ended the pair's chains, or 0.
  std::array<uint32_t, PAIR_BUCKETS> pairEndedAt_ = {};
};

}  // namespace selvage
