// Which datagrams reach the lanes' sockets: a program in the kernel that looks the outer source address up among the
// peers and drops a stranger's datagram before it is queued, so that neither a buffer nor a lane has to do with it.
//
//   udp_queue_rcv_one_skb: checksum -> program -> peers has the source? -> receive queue
//                                                      \ no -> counted in refused, dropped, sk_drops + 1
//
// The sockets share one program and its maps. Kernel file: system calls, no Node.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "unique_fd.h"

namespace selvage {

/// An outer address: four words in network order, IPv4 in the first and zeros behind it.
using PeerAddress = std::array<uint32_t, 4>;

/// What the filter refused since it was opened.
struct Refused {
  uint64_t datagrams;         // a train that the kernel put together counts as the datagrams in it
  uint64_t drops;             // what the refusals added to the sockets' own count of drops: one for a whole train
  int32_t lastSource[4];      // words in host order; zeros while nothing was refused
};

class PeerFilter {
 public:
  /// Twice the next hops of a table: while lanes change tables, the peers of the old one and of the new are in the map.
  static constexpr uint32_t CAPACITY = 131072;
  /// int32 words of a row of endpoints: four of the address in host order, and the port.
  static constexpr uint32_t ROW_WORDS = 5;

  /// Loads the program; the sockets get it with the first admit(), until then everybody passes. Linux 5.1 (`gso_segs`
  /// in socket filters); needs CAP_BPF (Linux 5.8), or CAP_SYS_ADMIN, in the initial user namespace.
  ///
  /// @param family AF_INET or AF_INET6: what the sockets' peers are of; datagrams of the other are refused
  /// @param sockets stay open, and the caller's, until after close()
  /// @throws SetUpError
  static std::unique_ptr<PeerFilter> open(int family, std::vector<int> sockets);

  /// Takes the filter off the sockets and gives every descriptor back.
  ~PeerFilter();
  PeerFilter(const PeerFilter&) = delete;
  PeerFilter& operator=(const PeerFilter&) = delete;

  /// Lets the addresses of these rows in, besides those that are in already. Rows with port 0 are nobody's.
  /// @returns 0; or once -errno, after which the filter is off the sockets for good: better everybody than not a peer
  int admit(const int32_t* rows, size_t count);

  /// Refuses every address that these rows do not hold. 0, or -errno: addresses may be left in.
  int retain(const int32_t* rows, size_t count);

  /// Reads the counts. 0, or -errno.
  int refused(Refused* out);

 private:
  /// One CPU's count, as the program writes it.
  struct Count {
    uint64_t drops;
    uint64_t datagrams;
    PeerAddress lastSource;
  };
  static_assert(sizeof(Count) == 32);

  PeerFilter(int family, std::vector<int> sockets);
  int attach();
  void detach();

  UniqueFd peers_;
  UniqueFd refused_;
  UniqueFd program_;
  std::vector<int> sockets_;
  std::vector<PeerAddress> present_;  // what peers_ holds, sorted
  std::vector<Count> counts_;         // of each possible CPU
  std::vector<uint64_t> dropsBefore_;
  PeerAddress lastSource_ = {};
  bool attached_ = false;
  bool off_ = false;
};

}  // namespace selvage
