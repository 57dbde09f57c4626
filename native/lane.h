// What one lane holds in native memory: its descriptors (borrowed), its three bursts, and the scratch memory of both
// directions. One thread uses it. Kernel file: system calls, no Node.
#pragma once

#include <cstdint>

#include "burst.h"
#include "tun.h"
#include "udp.h"

namespace selvage {

/// Indices into Lane::bursts; src/native.ts has the same numbers.
enum BurstIndex : uint32_t { BURST_OUTBOUND = 0, BURST_INBOUND = 1, BURST_ANSWERS = 2, BURST_COUNT = 3 };

/// Words that native writes for TypeScript to read after a call.
enum ReportWord : uint32_t {
  REPORT_LOSS_ROWS = 0,     // rows of the last send of which something was lost
  REPORT_DATAGRAMS = 1,     // datagrams in the last UDP receive
  REPORT_GSO = 2,           // 1 while UDP segmentation offload is in use
  REPORT_SEND_CALLS = 3,    // sendmmsg and sendmsg calls so far, modulo 2^32
  REPORT_NOW_MILLIS = 4,    // monotonic clock at the end of the last poll, modulo 2^32
  REPORT_WORDS = 5,
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
      : options_(options), receiver_(options.bursts[BURST_INBOUND], options.coalesceKinds), sender_(options.gso) {
    options_.report[REPORT_GSO] = options.gso ? 1 : 0;
  }

  void setEndpoints(const Endpoints& endpoints) { endpoints_ = endpoints; }

  /// Sleeps until a descriptor is ready or the time is over; takes back the wake signal.
  /// @returns a set of ReadyBit, or -errno
  int poll(int timeoutMillis) const;

  /// Sleeps until the UDP socket takes more. @returns 1, 0 after the time, or -errno
  int waitWritable(int timeoutMillis) const;

  int tunRecv(uint32_t maxRows) { return tunRecvBurst(options_.tunFd, options_.bursts[BURST_OUTBOUND], maxRows); }

  int udpRecv() {
    const int frames = receiver_.recvBurst(options_.udpFd);
    options_.report[REPORT_DATAGRAMS] = static_cast<int32_t>(receiver_.datagrams());
    return frames;
  }

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
    options_.report[REPORT_SEND_CALLS] = static_cast<int32_t>(sender_.systemCalls());
    return result;
  }

  LaneOptions options_;
  Endpoints endpoints_;
  UdpReceiver receiver_;
  UdpSender sender_;
};

}  // namespace selvage
