// peer_filter.cc against the kernel: real sockets over the loopback device of a network namespace of its own. Only the
// machine's root may load programs; run by anybody else, the one rule is that the refusal says what is needed.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "../../native/peer_filter.h"
#include "../../native/set_up_error.h"
#include "../../native/udp.h"
#include "../../native/unique_fd.h"
#include "check.h"

namespace {

using namespace selvage;

constexpr int WAIT_MILLIS = 5000;

struct in6_ifreq {  // include/uapi/linux/ipv6.h, which clashes with netinet/in.h
  in6_addr address;
  uint32_t prefixBits;
  int interface;
};

/// An address and a port as the kernel takes them, and as a row of endpoints.
struct Address {
  Address(int family, const char* text, uint16_t port = 0) {
    storage.ss_family = static_cast<sa_family_t>(family);
    if (family == AF_INET) {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
      ::inet_pton(AF_INET, text, &v4->sin_addr);
      v4->sin_port = htons(port);
      row[0] = static_cast<int32_t>(ntohl(v4->sin_addr.s_addr));
      size = sizeof(*v4);
    } else {
      auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
      ::inet_pton(AF_INET6, text, &v6->sin6_addr);
      v6->sin6_port = htons(port);
      for (size_t word = 0; word < 4; word++) {
        uint32_t value;
        std::memcpy(&value, v6->sin6_addr.s6_addr + 4 * word, sizeof(value));
        row[word] = static_cast<int32_t>(ntohl(value));
      }
      size = sizeof(*v6);
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr_storage storage{};
  socklen_t size = 0;
  int32_t row[PeerFilter::ROW_WORDS] = {0, 0, 0, 0, 8285};
};

/// Hosts of one family, all on the loopback device.
struct Family {
  int family;
  const char* name;
  const char* host;
  const char* peer;
  const char* other;
  const char* stranger;
};

constexpr Family FAMILIES[] = {
    {AF_INET, "IPv4", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"},
    {AF_INET6, "IPv6", "fd00::1", "fd00::2", "fd00::3", "fd00::4"},
};

void openNamespace() {
  CHECK(::unshare(CLONE_NEWNET) == 0);
  const UniqueFd control4(::socket(AF_INET, SOCK_DGRAM, 0));
  const UniqueFd control6(::socket(AF_INET6, SOCK_DGRAM, 0));
  ifreq up{};
  std::strcpy(up.ifr_name, "lo");
  up.ifr_flags = IFF_UP;
  CHECK(::ioctl(control4.get(), SIOCSIFFLAGS, &up) == 0);
  for (const char* text : {"fd00::1", "fd00::2", "fd00::3", "fd00::4"}) {
    in6_ifreq add{};
    ::inet_pton(AF_INET6, text, &add.address);
    add.prefixBits = 128;
    add.interface = static_cast<int>(::if_nametoindex("lo"));
    CHECK(::ioctl(control6.get(), SIOCSIFADDR, &add) == 0);
  }
}

UniqueFd bound(const Address& address, bool reusePort = false) {
  UniqueFd fd(::socket(address.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (reusePort) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
  CHECK(::bind(fd.get(), address.get(), address.size) == 0);
  return fd;
}

uint16_t portOf(const UniqueFd& fd) {
  sockaddr_storage name;
  socklen_t size = sizeof(name);
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);  // the same place in both families
}

/// A receiving socket of the host, and who sends to it.
struct Receiver {
  explicit Receiver(const Family& of)
      : hosts(of), fd(bound(Address(of.family, of.host))), at(of.family, of.host, portOf(fd)) {}

  void sendFrom(const char* source, int datagrams = 1) const {
    const UniqueFd sender = bound(Address(hosts.family, source));
    for (int i = 0; i < datagrams; i++) {
      CHECK(::sendto(sender.get(), "frame", 5, 0, at.get(), at.size) == 5);
    }
  }
  /// One train of `segments` datagrams.
  void sendTrainFrom(const char* source, int segments) const {
    const UniqueFd sender = bound(Address(hosts.family, source));
    const int segmentBytes = 100;
    CHECK(::setsockopt(sender.get(), SOL_UDP, UDP_SEGMENT, &segmentBytes, sizeof(segmentBytes)) == 0);
    const std::string bytes(static_cast<size_t>(segments * segmentBytes), 'x');
    CHECK(::sendto(sender.get(), bytes.data(), bytes.size(), 0, at.get(), at.size) ==
          static_cast<ssize_t>(bytes.size()));
  }
  /// Whether a datagram arrives. Takes it.
  bool receives() const {
    pollfd wait = {fd.get(), POLLIN, 0};
    char bytes[65536];
    return ::poll(&wait, 1, WAIT_MILLIS) == 1 && ::recv(fd.get(), bytes, sizeof(bytes), 0) > 0;
  }
  bool isEmpty() const {
    char byte;
    return ::recv(fd.get(), &byte, 1, 0) < 0 && errno == EAGAIN;
  }
  Family hosts;
  UniqueFd fd;
  Address at;
};

std::vector<int32_t> rowsOf(const Family& family, std::initializer_list<const char*> addresses) {
  std::vector<int32_t> rows(PeerFilter::ROW_WORDS);  // id 0 is this host: zeros
  for (const char* text : addresses) {
    const Address address(family.family, text);
    rows.insert(rows.end(), std::begin(address.row), std::end(address.row));
  }
  return rows;
}

int admit(PeerFilter& filter, const std::vector<int32_t>& rows) {
  return filter.admit(rows.data(), rows.size() / PeerFilter::ROW_WORDS);
}

int retain(PeerFilter& filter, const std::vector<int32_t>& rows) {
  return filter.retain(rows.data(), rows.size() / PeerFilter::ROW_WORDS);
}

Refused refusedBy(PeerFilter& filter) {
  Refused refused{};
  CHECK(filter.refused(&refused) == 0);
  return refused;
}

/// Waits until the filter has refused so many datagrams. The kernel may deliver after a send has returned.
bool hasRefused(PeerFilter& filter, uint64_t datagrams) {
  for (int waited = 0; waited < WAIT_MILLIS && refusedBy(filter).datagrams < datagrams; waited++) ::usleep(1000);
  return refusedBy(filter).datagrams == datagrams;
}

bool isLastSource(PeerFilter& filter, const Family& family, const char* text) {
  const Refused refused = refusedBy(filter);
  return std::memcmp(refused.lastSource, Address(family.family, text).row, sizeof(refused.lastSource)) == 0;
}

size_t openDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

void rulesOf(const Family& family) {
  const auto rule = [&](const char* text, const std::function<void()>& body) {
    check::rule(std::string(family.name) + ": " + text, body);
  };
  const std::vector<int32_t> peers = rowsOf(family, {family.peer});

  rule("before the first peers are admitted everybody passes", [&] {
    const Receiver receiver(family);
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    receiver.sendFrom(family.stranger);
    CHECK(receiver.receives());
    CHECK(refusedBy(*filter).datagrams == 0);
  });

  rule("a peer passes whole, a stranger is refused, counted and named", [&] {
    const Receiver receiver(family);
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    CHECK(admit(*filter, peers) == 0);
    receiver.sendFrom(family.stranger, 3);
    CHECK(hasRefused(*filter, 3));
    CHECK(isLastSource(*filter, family, family.stranger));
    CHECK(receiver.isEmpty());
    receiver.sendFrom(family.peer);
    char bytes[16];
    pollfd wait = {receiver.fd.get(), POLLIN, 0};
    CHECK(::poll(&wait, 1, WAIT_MILLIS) == 1);
    CHECK(::recv(receiver.fd.get(), bytes, sizeof(bytes), 0) == 5);
    CHECK(refusedBy(*filter).datagrams == 3);
  });

  rule("the last stranger stays named when nothing more was refused, and the next takes its place", [&] {
    const Receiver receiver(family);
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    CHECK(admit(*filter, peers) == 0);
    receiver.sendFrom(family.stranger);
    CHECK(hasRefused(*filter, 1));
    refusedBy(*filter);
    CHECK(isLastSource(*filter, family, family.stranger));
    receiver.sendFrom(family.other);
    CHECK(hasRefused(*filter, 2));
    CHECK(isLastSource(*filter, family, family.other));
  });

  rule("a new table's peers come in beside the old one's, which leave with it", [&] {
    const Receiver receiver(family);
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    CHECK(admit(*filter, peers) == 0);
    const std::vector<int32_t> next = rowsOf(family, {family.other, family.other});
    CHECK(admit(*filter, next) == 0);
    receiver.sendFrom(family.peer);
    CHECK(receiver.receives());
    receiver.sendFrom(family.other);
    CHECK(receiver.receives());
    CHECK(retain(*filter, next) == 0);
    receiver.sendFrom(family.peer);
    CHECK(hasRefused(*filter, 1));
    receiver.sendFrom(family.other);
    CHECK(receiver.receives());
    CHECK(admit(*filter, peers) == 0);
    receiver.sendFrom(family.peer);
    CHECK(receiver.receives());
  });

  rule("a row without a port is nobody's", [&] {
    const Receiver receiver(family);
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    std::vector<int32_t> rows = rowsOf(family, {family.stranger});
    rows.back() = 0;
    CHECK(admit(*filter, rows) == 0);
    receiver.sendFrom(family.stranger);
    CHECK(hasRefused(*filter, 1));
  });

  rule("sockets that share a port share the peers and the counts", [&] {
    constexpr int SENDERS = 64;
    const UniqueFd first = bound(Address(family.family, family.host), true);
    const Address at(family.family, family.host, portOf(first));
    const UniqueFd second = bound(at, true);
    const auto filter = PeerFilter::open(family.family, {first.get(), second.get()});
    CHECK(admit(*filter, peers) == 0);
    const auto sendFromPorts = [&](const char* source) {
      for (int i = 0; i < SENDERS; i++) {
        const UniqueFd sender = bound(Address(family.family, source));
        CHECK(::sendto(sender.get(), "frame", 5, 0, at.get(), at.size) == 5);
      }
    };
    const auto receivedBy = [](const UniqueFd& fd) {
      int datagrams = 0;
      for (char byte; ::recv(fd.get(), &byte, 1, 0) >= 0;) datagrams++;
      return datagrams;
    };
    sendFromPorts(family.stranger);
    CHECK(hasRefused(*filter, SENDERS));
    CHECK(receivedBy(first) + receivedBy(second) == 0);
    CHECK(udpReceiveOverflow(first.get()) > 0);
    CHECK(udpReceiveOverflow(second.get()) > 0);
    CHECK(udpReceiveOverflow(first.get()) + udpReceiveOverflow(second.get()) == SENDERS);
    sendFromPorts(family.peer);
    int ofFirst = 0;
    int ofSecond = 0;
    for (int waited = 0; waited < WAIT_MILLIS && ofFirst + ofSecond < SENDERS; waited++) {
      ofFirst += receivedBy(first);
      ofSecond += receivedBy(second);
      ::usleep(1000);
    }
    CHECK(ofFirst > 0 && ofSecond > 0 && ofFirst + ofSecond == SENDERS);
    CHECK(refusedBy(*filter).datagrams == SENDERS);
  });

  rule("a stranger's train counts as its datagrams, and as one drop where the socket takes trains", [&] {
    for (const bool gro : {true, false}) {
      const Receiver receiver(family);
      const int on = 1;
      if (gro) CHECK(::setsockopt(receiver.fd.get(), SOL_UDP, UDP_GRO, &on, sizeof(on)) == 0);
      const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
      CHECK(admit(*filter, peers) == 0);
      receiver.sendTrainFrom(family.stranger, 5);
      CHECK(hasRefused(*filter, 5));
      CHECK(refusedBy(*filter).drops == (gro ? 1 : 5));
      CHECK(udpReceiveOverflow(receiver.fd.get()) == (gro ? 1 : 5));
      receiver.sendTrainFrom(family.peer, 5);
      CHECK(receiver.receives());
    }
  });

  rule("drops less refusals are what a full buffer lost", [&] {
    constexpr int SENT = 200;
    const Receiver receiver(family);
    const int bufferBytes = 1;  // the kernel makes it its smallest
    ::setsockopt(receiver.fd.get(), SOL_SOCKET, SO_RCVBUF, &bufferBytes, sizeof(bufferBytes));
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    CHECK(admit(*filter, peers) == 0);
    receiver.sendFrom(family.peer, SENT);
    receiver.sendFrom(family.stranger, 7);
    CHECK(hasRefused(*filter, 7));
    int received = 0;
    for (char byte; ::recv(receiver.fd.get(), &byte, 1, 0) >= 0;) received++;
    CHECK(received > 0 && received < SENT);
    const int64_t drops = udpReceiveOverflow(receiver.fd.get());
    CHECK(drops - static_cast<int64_t>(refusedBy(*filter).drops) == SENT - received);
  });

  rule("with more peers than it holds the filter goes off, and everybody passes", [&] {
    const Receiver receiver(family);
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    CHECK(admit(*filter, peers) == 0);
    // The kernel counts the entries of each CPU apart, and may let some more in.
    std::vector<int32_t> rows((PeerFilter::CAPACITY + 8192) * PeerFilter::ROW_WORDS);
    for (size_t i = 0; i < rows.size() / PeerFilter::ROW_WORDS; i++) {
      rows[i * PeerFilter::ROW_WORDS] = static_cast<int32_t>(0x0a000000 + i);
      rows[i * PeerFilter::ROW_WORDS + 4] = 8285;
    }
    CHECK(admit(*filter, rows) == -E2BIG);
    receiver.sendFrom(family.stranger);
    CHECK(receiver.receives());
    CHECK(admit(*filter, peers) == 0);
    CHECK(retain(*filter, peers) == 0);
    receiver.sendFrom(family.stranger);
    CHECK(receiver.receives());
  });

  rule("tables of 65,536 peers follow one another", [&] {
    constexpr size_t PEERS = 65536;
    const Receiver receiver(family);
    const auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    for (int table = 0; table < 3; table++) {
      std::vector<int32_t> rows = rowsOf(family, {family.peer});
      rows.resize(PEERS * PeerFilter::ROW_WORDS);
      for (size_t i = 2; i < PEERS; i++) {
        rows[i * PeerFilter::ROW_WORDS] = static_cast<int32_t>(0x0a000000 + i + PEERS * static_cast<size_t>(table));
        rows[i * PeerFilter::ROW_WORDS + 4] = 8285;
      }
      CHECK(admit(*filter, rows) == 0);
      CHECK(retain(*filter, rows) == 0);
      receiver.sendFrom(family.peer);
      CHECK(receiver.receives());
    }
    CHECK(refusedBy(*filter).datagrams == 0);
  });

  rule("closing takes it off the sockets and gives every descriptor back", [&] {
    const Receiver receiver(family);
    const size_t before = openDescriptors();
    auto filter = PeerFilter::open(family.family, {receiver.fd.get()});
    CHECK(admit(*filter, peers) == 0);
    CHECK(openDescriptors() > before);
    filter.reset();
    CHECK(openDescriptors() == before);
    receiver.sendFrom(family.stranger);
    CHECK(receiver.receives());
  });
}

/// What the refusal of a process without privileges says; empty when the kernel lets it.
std::string refusal() {
  try {
    PeerFilter::open(AF_INET, {});
    return "";
  } catch (const SetUpError& error) {
    return std::string(error.syscall) + " " + std::to_string(error.errorNumber) + " " + remedyFor(error);
  }
}

void ruleWithoutPrivileges() {
  check::rule("without CAP_BPF the kernel refuses, and the remedy says so", [] {
    int ends[2];
    CHECK(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      constexpr uid_t NOBODY = 65534;
      if (::geteuid() == 0 && ::setresuid(NOBODY, NOBODY, NOBODY) != 0) ::_exit(1);
      const std::string said = refusal();
      const bool written = ::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
      ::_exit(written ? 0 : 1);
    }
    ::close(ends[1]);
    char bytes[512];
    const ssize_t got = ::read(ends[0], bytes, sizeof(bytes));
    ::close(ends[0]);
    int status = 1;
    CHECK(::waitpid(child, &status, 0) == child && status == 0);
    const std::string said(bytes, got < 0 ? 0 : static_cast<size_t>(got));
    std::ifstream setting("/proc/sys/kernel/unprivileged_bpf_disabled");
    int disabled = 0;
    setting >> disabled;
    const std::string expected = "BPF_MAP_CREATE " + std::to_string(EPERM) + " needs CAP_BPF";
    CHECK_CASE(disabled == 0 ? said.empty() : said.starts_with(expected), said);
  });
}

void ruleOfOtherFamily() {
  check::rule("a socket of both families: IPv4 datagrams are refused where peers are IPv6", [] {
    const UniqueFd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int off = 0;
    CHECK(::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0);
    const Address any(AF_INET6, "::");
    CHECK(::bind(fd.get(), any.get(), any.size) == 0);
    const auto filter = PeerFilter::open(AF_INET6, {fd.get()});
    CHECK(admit(*filter, rowsOf(FAMILIES[0], {"127.0.0.2"})) == 0);
    const UniqueFd sender = bound(Address(AF_INET, "127.0.0.2"));
    const Address to(AF_INET, "127.0.0.1", portOf(fd));
    CHECK(::sendto(sender.get(), "frame", 5, 0, to.get(), to.size) == 5);
    CHECK(hasRefused(*filter, 1));
  });
}

}  // namespace

int main() {
  ruleWithoutPrivileges();
  std::ifstream map("/proc/self/uid_map");
  unsigned inside = 1;
  unsigned outside = 1;
  map >> inside >> outside;
  if (::geteuid() == 0 && inside == 0 && outside == 0) {
    openNamespace();
    for (const Family& family : FAMILIES) rulesOf(family);
    ruleOfOtherFamily();
  }
  return check::finish();
}
