#include "path_mtu.h"

#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "socket_address.h"
#include "udp.h"
#include "unique_fd.h"

namespace selvage {

int interfaceMtu(const std::string& name) {
  ifreq request{};
  if (name.size() >= sizeof(request.ifr_name)) return -ENODEV;
  std::memcpy(request.ifr_name, name.c_str(), name.size());
  const UniqueFd any(
      ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));  // the question needs a socket, of whatever family
  if (!any.valid() || ::ioctl(any.get(), SIOCGIFMTU, &request) < 0) return -errno;
  return request.ifr_mtu;
}

int udpPathMtu(int fd, const int32_t* words) {
  const int family = udpFamily(fd);
  SocketAddress local = emptySocketAddress(family);
  socklen_t size = socketAddressBytes(family);
  if (::getsockname(fd, &local.any, &size) < 0) return -errno;
  (family == AF_INET6 ? local.ipv6.sin6_port : local.ipv4.sin_port) = 0;
  SocketAddress peer = emptySocketAddress(family);
  constexpr uint16_t DISCARD = 9;  // nothing is sent; a connected socket needs a port
  putEndpoint(&peer, family, words, DISCARD);
  // Only a connected socket has a route to be asked about, and the lane's must stay unconnected.
  const UniqueFd asking(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP));
  if (!asking.valid() || ::bind(asking.get(), &local.any, size) < 0 || ::connect(asking.get(), &peer.any, size) < 0) {
    return -errno;
  }
  int mtuBytes = 0;
  socklen_t valueBytes = sizeof(mtuBytes);
  const bool ipv6 = family == AF_INET6;
  const int failed =
      ::getsockopt(asking.get(), ipv6 ? SOL_IPV6 : SOL_IP, ipv6 ? IPV6_MTU : IP_MTU, &mtuBytes, &valueBytes);
  return failed < 0 ? -errno : mtuBytes;
}

int udpSendProbe(int fd, const int32_t* words, uint16_t port, const uint8_t* bytes, size_t count) {
  const int family = udpFamily(fd);
  SocketAddress peer = emptySocketAddress(family);
  putEndpoint(&peer, family, words, port);
  const ssize_t sent = ::sendto(fd, bytes, count, MSG_DONTWAIT, &peer.any, socketAddressBytes(family));
  return sent < 0 ? -errno : static_cast<int>(sent);
}

}  // namespace selvage
