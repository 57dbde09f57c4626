// What one lane holds in native memory: its descriptors (borrowed), its three bursts, and the scratch memory of both
// directions. One thread uses it. Kernel file: system calls, no Node.
#pragma once

#include <cstdint>

#include "burst.h"
#include "tun.h"
#include "udp.h"
#include "udp_sender.h"

namespace selvage {

/// Indices into Lane::bursts; src/native.ts has the same numbers.
enum BurstIndex : uint32_t { BURST_OUTBOUND = 0, BURST_INBOUND = 1, BURST_ANSWERS = 2, BURST_COUNT = 3 };

/// Words that native writes for TypeScript to read after a call.
enum ReportWord : uint32_t {
  REPORT_LOSS_ROWS = 0,   // rows of the last send of which something was lost
  REPORT_GSO = 1,         // 1 while UDP segmentation offload is in use
  REPORT_NOW_MILLIS = 2,  // monotonic clock at the end of the last poll, modulo 2^32
  REPORT_WORDS = 3,
};

enum ReadyBit : int { READY_TUN = 1, READY_UDP = 2, READY_WAKE = 4 };

struct LaneOptions {
  int tunFd;
  int udpFd;
  int wakeFd;
  Burst bursts[BURST_COUNT];
  int32_t* report;  // REPORT_WORDS words
  uint32_t coalesceKinds;
  bool gso;
};

class Lane {
 public:
  explicit Lane(const LaneOptions& options)
      : options_(options),
        receiver_(options.bursts[BURST_INBOUND], options.coalesceKinds, udpFamily(options.udpFd)),
        sender_(options.gso, udpFamily(options.udpFd)) {
    options_.report[REPORT_GSO] = options.gso ? 1 : 0;
  }

  /// @returns false, and changes nothing, while a send that was refused still needs the old ones
  bool setEndpoints(const Endpoints& endpoints) {
    if (sender_.pending()) return false;
    endpoints_ = endpoints;
    return true;
  }

  /// Sleeps until a descriptor is ready or the time is over; takes back the wake signal.
  /// @returns a set of ReadyBit, or -errno
  int poll(int timeoutMillis) const;

  /// Sleeps until the UDP socket takes more. @returns 1, 0 after the time, or -errno
  int waitWritable(int timeoutMillis) const;

  int tunRecv(uint32_t maxRows) { return tunRecvBurst(options_.tunFd, options_.bursts[BURST_OUTBOUND], maxRows); }

  int udpRecv() { return receiver_.recvBurst(options_.udpFd); }

  int tunSend(uint32_t burst, uint32_t count);
  int udpSend(uint32_t burst, uint32_t count) {
    return reportSend(sender_.send(options_.udpFd, options_.bursts[burst], count, endpoints_));
  }
  int udpResume() { return reportSend(sender_.resume(options_.udpFd)); }
  int udpAbandon() {
    sender_.abandon();
    return reportSend(0);
  }

 private:
  int reportSend(int result) {
    options_.report[REPORT_LOSS_ROWS] = static_cast<int32_t>(sender_.rowsWithLoss());
    options_.report[REPORT_GSO] = sender_.gso() ? 1 : 0;
    return result;
  }

  LaneOptions options_;
  Endpoints endpoints_;
  UdpReceiver receiver_;
  UdpSender sender_;
};

}  // namespace selvage
