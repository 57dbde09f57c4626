#include "lane.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace selvage {

namespace {
/// The coarse clock costs a few nanoseconds and is right to a tick, which is all that a rate limit needs.
int32_t nowMillis() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  const int64_t millis = static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
  return static_cast<int32_t>(static_cast<uint32_t>(millis));
}
}  // namespace

int Lane::poll(int timeoutMillis) const {
  pollfd entries[3] = {{options_.tunFd, POLLIN, 0}, {options_.udpFd, POLLIN, 0}, {options_.wakeFd, POLLIN, 0}};
  const int ready = ::poll(entries, 3, timeoutMillis);
  options_.report[REPORT_NOW_MILLIS] = nowMillis();
  if (ready < 0) {
    const int errorNumber = errno;
    return errorNumber == EINTR ? 0 : -errorNumber;
  }
  if (((entries[0].revents | entries[1].revents | entries[2].revents) & POLLNVAL) != 0) return -EBADF;
  int bits = 0;
  // POLLERR counts as ready: the receive then returns the error, which a sleep would hide.
  if (entries[0].revents != 0) bits |= READY_TUN;
  if (entries[1].revents != 0) bits |= READY_UDP;
  if (entries[2].revents != 0) {
    bits |= READY_WAKE;
    uint64_t signals;
    // The value does not matter: whoever woke us has written a control word first.
    [[maybe_unused]] const ssize_t got = ::read(options_.wakeFd, &signals, sizeof(signals));
  }
  return bits;
}

int Lane::waitWritable(int timeoutMillis) const {
  pollfd entry = {options_.udpFd, POLLOUT, 0};
  const int ready = ::poll(&entry, 1, timeoutMillis);
  if (ready >= 0) return ready;
  const int errorNumber = errno;
  return errorNumber == EINTR ? 0 : -errorNumber;
}

int Lane::tunSend(uint32_t burst, uint32_t count) {
  const Burst& rows = options_.bursts[burst];
  const bool coalesced = burst == BURST_INBOUND;
  const uint32_t most = coalesced ? receiver_.coalescer().frames() : rows.rows;
  const uint32_t bounded = count < most ? count : most;
  const int lossRows = coalesced ? tunSendCoalesced(options_.tunFd, rows, bounded, receiver_.coalescer())
                                 : tunSendPlain(options_.tunFd, rows, bounded);
  options_.report[REPORT_LOSS_ROWS] = lossRows;
  return lossRows;
}

}  // namespace selvage
