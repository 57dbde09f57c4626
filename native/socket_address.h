// An underlay address as the kernel takes it, and as TypeScript keeps it (src/ip_address.ts): four int32 words in
// network order of significance, of IPv4 only the first in use. Pure: no system call, no Node.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

#include "burst.h"

namespace selvage {

/// Of the family that the socket has.
union SocketAddress {
  sockaddr any;
  sockaddr_in ipv4;
  sockaddr_in6 ipv6;
};

/// @param family AF_INET or AF_INET6, here and below
inline socklen_t socketAddressBytes(int family) {
  return family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

/// The unspecified address, port 0.
inline SocketAddress emptySocketAddress(int family) {
  SocketAddress address{};
  if (family == AF_INET6) {
    address.ipv6 = {};
    address.ipv6.sin6_family = AF_INET6;
  } else {
    address.ipv4 = {};
    address.ipv4.sin_family = AF_INET;
  }
  return address;
}

/// Sets address and port; the family stays.
inline void putEndpoint(SocketAddress* address, int family, const int32_t* words, uint16_t port) {
  if (family == AF_INET6) {
    for (uint32_t i = 0; i < ADDRESS_WORDS; i++) {
      address->ipv6.sin6_addr.s6_addr32[i] = htonl(static_cast<uint32_t>(words[i]));
    }
    address->ipv6.sin6_port = htons(port);
  } else {
    address->ipv4.sin_addr.s_addr = htonl(static_cast<uint32_t>(words[0]));
    address->ipv4.sin_port = htons(port);
  }
}

/// Writes ADDRESS_WORDS words.
inline void takeAddress(const SocketAddress& address, int family, int32_t* words) {
  if (family == AF_INET6) {
    for (uint32_t i = 0; i < ADDRESS_WORDS; i++) {
      words[i] = static_cast<int32_t>(ntohl(address.ipv6.sin6_addr.s6_addr32[i]));
    }
  } else {
    words[0] = static_cast<int32_t>(ntohl(address.ipv4.sin_addr.s_addr));
    words[1] = words[2] = words[3] = 0;
  }
}

inline uint16_t portOf(const SocketAddress& address, int family) {
  return ntohs(family == AF_INET6 ? address.ipv6.sin6_port : address.ipv4.sin_port);
}

}  // namespace selvage
