// Sends UDP datagrams of one size to one place, as fast as one thread can or as often as is asked, for a bounded time.
//
//   flood ADDRESS PORT BYTES SECONDS PER_SECOND CPU      PER_SECOND 0: as fast as it can
//
// Says "flooding" first; SIGINT ends it early. Prints {"sent": datagrams the kernel took, "seconds": time it was at it}.
// ADDRESS is of either family. What it sends differs from no other datagram, so all of it is one flow: a network card or
// SO_REUSEPORT gives it to one core, as for a real stranger.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr unsigned BATCH = 64;
volatile sig_atomic_t stopping = 0;

double now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

int connectedTo(const char* address, uint16_t port) {
  sockaddr_in ipv4{};
  sockaddr_in6 ipv6{};
  ipv4.sin_family = AF_INET;
  ipv4.sin_port = htons(port);
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(port);
  const bool isIpv4 = inet_pton(AF_INET, address, &ipv4.sin_addr) == 1;
  if (!isIpv4 && inet_pton(AF_INET6, address, &ipv6.sin6_addr) != 1) return -1;
  const int fd = socket(isIpv4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
  const auto* target = isIpv4 ? reinterpret_cast<sockaddr*>(&ipv4) : reinterpret_cast<sockaddr*>(&ipv6);
  return connect(fd, target, isIpv4 ? sizeof ipv4 : sizeof ipv6) == 0 ? fd : -1;
}

bool pinTo(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

void sleepFor(double seconds) {
  const timespec time{0, static_cast<long>(seconds * 1e9)};
  nanosleep(&time, nullptr);
}

}  // namespace

int main(int count, char** words) {
  if (count != 7) return 2;
  const int fd = connectedTo(words[1], static_cast<uint16_t>(atoi(words[2])));
  std::vector<char> payload(static_cast<size_t>(atoi(words[3])), '\0');
  const double seconds = atof(words[4]), perSecond = atof(words[5]);
  if (fd < 0 || !pinTo(static_cast<unsigned>(atoi(words[6])))) {
    perror(words[1]);
    return 1;
  }
  struct sigaction action {};
  action.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGINT, &action, nullptr);

  iovec data{payload.data(), payload.size()};
  mmsghdr messages[BATCH]{};
  for (auto& message : messages) message.msg_hdr = {nullptr, 0, &data, 1, nullptr, 0, 0};
  puts("flooding");
  fflush(stdout);
  const double started = now();
  double sent = 0, elapsed = 0;
  while (!stopping && (elapsed = now() - started) < seconds) {
    const double due = perSecond > 0 ? perSecond * elapsed - sent : BATCH;
    if (due < 1) {
      sleepFor(std::min(1e-3, 1 / perSecond));
      continue;
    }
    // An error is one of ICMP, that nobody listens, or of a full queue: the flood goes on.
    const int taken = sendmmsg(fd, messages, due < BATCH ? static_cast<unsigned>(due) : BATCH, 0);
    if (taken > 0) sent += taken;
  }
  printf("{\"sent\": %.0f, \"seconds\": %.6f}\n", sent, elapsed);
  close(fd);
  return 0;
}
