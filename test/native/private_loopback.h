// A network namespace of the test's own: a loopback interface with addresses of both families, whose MTU the test sets,
// and ICMP errors written by hand. Nothing outside the test changes. Needs root, or unprivileged user namespaces.
#pragma once

#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "../../native/socket_address.h"
#include "../../native/unique_fd.h"
#include "../reference/packet.h"
#include "check.h"

namespace check {

/// linux/ipv6.h, which cannot be included beside netinet/in.h
struct Ipv6InterfaceAddress {
  in6_addr address;
  uint32_t prefixBits;
  int interfaceIndex;
};

inline void orDie(bool good, const char* what) {
  if (good) return;
  std::perror(what);
  std::exit(1);
}

inline ifreq loopbackRequest() {
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  return request;
}

inline void setLoopbackMtu(int mtuBytes) {
  const selvage::UniqueFd fd(::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request = loopbackRequest();
  request.ifr_mtu = mtuBytes;
  orDie(::ioctl(fd.get(), SIOCSIFMTU, &request) == 0, "SIOCSIFMTU lo");
}

/// Enters a new namespace. IPv4 has all of 127.0.0.0/8, IPv6 has fd00::1 to fd00::3.
inline void enterPrivateLoopback() {
  orDie(::unshare(CLONE_NEWNET) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0, "unshare");
  const selvage::UniqueFd fd(::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request = loopbackRequest();
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  orDie(::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0, "SIOCSIFFLAGS lo");
  const selvage::UniqueFd fd6(::socket(AF_INET6, SOCK_DGRAM, 0));
  for (uint8_t last = 1; last <= 3; last++) {
    Ipv6InterfaceAddress address{};
    address.address.s6_addr[0] = 0xfd;
    address.address.s6_addr[15] = last;
    address.prefixBits = 128;
    address.interfaceIndex = static_cast<int>(::if_nametoindex("lo"));
    orDie(::ioctl(fd6.get(), SIOCSIFADDR, &address) == 0, "SIOCSIFADDR fd00::");
  }
}

/// A counter of ICMP errors that this namespace received: ports unreachable, and packets too big with them.
inline long icmpErrorsReceived(int family) {
  if (family == AF_INET6) {
    std::ifstream file("/proc/self/net/snmp6");
    std::string name;
    long total = 0;
    for (long value; file >> name >> value;) {
      if (name == "Icmp6InDestUnreachs" || name == "Icmp6InPktTooBigs") total += value;
    }
    return total;
  }
  std::ifstream file("/proc/self/net/snmp");
  for (std::string line; std::getline(file, line);) {
    long messages, errors, checksums, unreachable;
    if (std::sscanf(line.c_str(), "Icmp: %ld %ld %ld %ld", &messages, &errors, &checksums, &unreachable) == 4) {
      return unreachable;
    }
  }
  return -1;
}

/// Sends the ICMP error that a router of a smaller MTU would: about a datagram from `near` to `far`.
inline void sayTooBig(int family, const selvage::SocketAddress& near, const selvage::SocketAddress& far,
                      uint32_t mtuBytes) {
  using namespace reference;
  const bool ipv6 = family == AF_INET6;
  Packet datagram;
  datagram.ipv6 = ipv6;
  datagram.tcp = false;
  datagram.payload.assign(1400, 0);
  datagram.sourcePort = selvage::portOf(near, family);
  datagram.destinationPort = selvage::portOf(far, family);
  const void* source = ipv6 ? static_cast<const void*>(&near.ipv6.sin6_addr) : &near.ipv4.sin_addr;
  const void* destination = ipv6 ? static_cast<const void*>(&far.ipv6.sin6_addr) : &far.ipv4.sin_addr;
  std::memcpy(datagram.source.data(), source, ipv6 ? 16 : 4);
  std::memcpy(datagram.destination.data(), destination, ipv6 ? 16 : 4);
  Bytes error;
  put8(error, ipv6 ? ICMP6_PACKET_TOO_BIG : ICMP_DEST_UNREACH);
  put8(error, ipv6 ? 0 : ICMP_FRAG_NEEDED);
  put16(error, 0);  // the kernel writes ICMPv6's checksum
  put32(error, mtuBytes);
  const Bytes whole = build(datagram);
  error.insert(error.end(), whole.begin(), whole.begin() + (ipv6 ? 48 : 28));
  if (!ipv6) set16(error, 2, 0xffffu - checksum(error.data(), error.size()));
  const selvage::UniqueFd raw(::socket(family, SOCK_RAW, ipv6 ? static_cast<int>(IPPROTO_ICMPV6) : IPPROTO_ICMP));
  selvage::SocketAddress to = near;
  (ipv6 ? to.ipv6.sin6_port : to.ipv4.sin_port) = 0;
  const ssize_t sent = ::sendto(raw.get(), error.data(), error.size(), 0, &to.any, selvage::socketAddressBytes(family));
  CHECK(sent == static_cast<ssize_t>(error.size()));
}

}  // namespace check
