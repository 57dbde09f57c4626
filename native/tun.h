// TUN queues: opening a multi-queue device with virtio-net headers, and moving bursts through one queue.
// Kernel file: system calls, no Node.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "burst.h"
#include "coalesce.h"
#include "unique_fd.h"

namespace selvage {

/// What the kernel accepted of the offloads asked for.
struct TunOffloads {
  bool checksum = false;  // TUN_F_CSUM: partial checksums in both directions
  bool tso4 = false;      // TUN_F_TSO4
  bool tso6 = false;      // TUN_F_TSO6
  bool tsoEcn = false;    // TUN_F_TSO_ECN
  bool uso = false;       // TUN_F_USO4 and TUN_F_USO6 (Linux 6.2)
};

struct TunDevice {
  std::string name;              // as the kernel chose it
  std::vector<UniqueFd> queues;  // one descriptor per queue, non-blocking
  TunOffloads offloads;
};

/// Creates the device (it must not exist) and its queues. Needs CAP_NET_ADMIN.
/// @param name up to 15 bytes; may hold one %d for the next free number
/// @param queues 1 or more
/// @param offload false leaves every offload off
/// @throws SetUpError
TunDevice openTun(const std::string& name, uint32_t queues, bool offload);

/// Bytes kept free before each frame read from TUN; the virtio-net header lies in the last ten of them.
constexpr uint32_t TUN_HEADROOM_BYTES = 64;

/// Reads frames until the queue is dry, the slab has no room for another 64 KiB frame, or every row is used.
/// Fills offset, length, segments, wireBytes; completes the checksum of ordinary frames in place.
/// @returns frames read (0: dry), or -errno when the first read failed for another reason than EAGAIN
int tunRecvBurst(int fd, const Burst& burst, uint32_t maxRows);

/// Writes the rows `0..count-1` with fate >= 0 of a burst whose rows are `coalescer`'s frames.
/// @returns rows of which something was lost (see burst.lost)
int tunSendCoalesced(int fd, const Burst& burst, uint32_t count, const Coalescer& coalescer);

/// Writes the rows `0..count-1` with fate >= 0, each one ordinary frame with a complete checksum.
/// @returns rows that were lost
int tunSendPlain(int fd, const Burst& burst, uint32_t count);

}  // namespace selvage
