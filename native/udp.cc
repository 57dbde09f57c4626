#include "udp.h"

#include <linux/sock_diag.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>

#include "set_up_error.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

namespace selvage {

namespace {

/// Reads the address of either family. @throws SetUpError
SocketAddress parseEndpoint(const std::string& text, uint16_t port, int* family) {
  *family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
  SocketAddress address = emptySocketAddress(*family);
  void* const bytes =
      *family == AF_INET6 ? static_cast<void*>(&address.ipv6.sin6_addr) : static_cast<void*>(&address.ipv4.sin_addr);
  if (::inet_pton(*family, text.c_str(), bytes) != 1) throw SetUpError{"inet_pton", text, EINVAL};
  (*family == AF_INET6 ? address.ipv6.sin6_port : address.ipv4.sin_port) = htons(port);
  return address;
}

std::string describe(const UdpSocketOptions& options) {
  const bool ipv6 = options.address.find(':') != std::string::npos;
  return (ipv6 ? "[" + options.address + "]" : options.address) + ":" + std::to_string(options.port);
}

/// Sets a buffer size past the system's limit where the privilege is there, else up to the limit.
/// @returns bytes granted, without the kernel's doubling for its own book-keeping (socket(7))
int setBuffer(int fd, int forceOption, int plainOption, int bytes) {
  if (bytes > 0 && ::setsockopt(fd, SOL_SOCKET, forceOption, &bytes, sizeof(bytes)) < 0) {
    ::setsockopt(fd, SOL_SOCKET, plainOption, &bytes, sizeof(bytes));
  }
  int granted = 0;
  socklen_t size = sizeof(granted);
  ::getsockopt(fd, SOL_SOCKET, plainOption, &granted, &size);
  return granted / 2;
}

bool setOption(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/// What a lane relies on, of either family. @throws SetUpError
void setFamilyOptions(int fd, int family, const std::string& subject) {
  const bool ipv6 = family == AF_INET6;
  if (ipv6 && !setOption(fd, SOL_IPV6, IPV6_V6ONLY, 1)) throw SetUpError{"IPV6_V6ONLY", subject, errno};
  const bool whole = ipv6 ? setOption(fd, SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
                          : setOption(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
  if (!whole) throw SetUpError{ipv6 ? "IPV6_MTU_DISCOVER" : "IP_MTU_DISCOVER", subject, errno};
  const bool told = ipv6 ? setOption(fd, SOL_IPV6, IPV6_RECVTCLASS, 1) : setOption(fd, SOL_IP, IP_RECVTOS, 1);
  if (!told) throw SetUpError{ipv6 ? "IPV6_RECVTCLASS" : "IP_RECVTOS", subject, errno};
}

}  // namespace

UdpSocket openUdp(const UdpSocketOptions& options) {
  int family;
  SocketAddress address = parseEndpoint(options.address, options.port, &family);
  const std::string subject = describe(options);
  UdpSocket result;
  result.fd = UniqueFd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  const int fd = result.fd.get();
  if (fd < 0) throw SetUpError{"socket", subject, errno};
  setFamilyOptions(fd, family, subject);
  if (options.reusePort && !setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1)) {
    throw SetUpError{"SO_REUSEPORT", subject, errno};
  }
  socklen_t size = socketAddressBytes(family);
  if (::bind(fd, &address.any, size) < 0) throw SetUpError{"bind", subject, errno};
  if (::getsockname(fd, &address.any, &size) < 0) throw SetUpError{"getsockname", subject, errno};
  result.port = portOf(address, family);
  result.receiveBufferBytes = setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.receiveBufferBytes);
  result.sendBufferBytes = setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.sendBufferBytes);
  result.gso = setOption(fd, SOL_UDP, UDP_SEGMENT, 0);
  result.gro = options.gro && setOption(fd, SOL_UDP, UDP_GRO, 1);
  return result;
}

int udpFamily(int fd) {
  int family = AF_INET;
  socklen_t size = sizeof(family);
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
  return family == AF_INET6 ? AF_INET6 : AF_INET;
}

void allowOuterFragments(int fd, int family, bool allowed) {
  if (family == AF_INET6) {
    setOption(fd, SOL_IPV6, IPV6_MTU_DISCOVER, allowed ? IPV6_PMTUDISC_DONT : IPV6_PMTUDISC_DO);
  } else {
    setOption(fd, SOL_IP, IP_MTU_DISCOVER, allowed ? IP_PMTUDISC_DONT : IP_PMTUDISC_DO);
  }
}

int64_t udpReceiveOverflow(int fd) {
  uint32_t values[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof(values);
  if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &size) < 0) return -errno;
  return values[SK_MEMINFO_DROPS];
}

UdpReceiver::UdpReceiver(const Burst& burst, uint32_t coalesceKinds, int family)
    : burst_(burst), coalescer_(MAX_DATAGRAMS, coalesceKinds), family_(family) {
  for (uint32_t i = 0; i < MESSAGES; i++) {
    pieces_[i] = {burst_.slab + i * MESSAGE_STRIDE, 65535};
    sources_[i] = emptySocketAddress(family);
    msghdr& header = messages_[i].msg_hdr;
    header = {};
    header.msg_iov = &pieces_[i];
    header.msg_iovlen = 1;
    header.msg_name = &sources_[i];
    header.msg_control = &controls_[i];
  }
}

int UdpReceiver::recvBurst(int fd) {
  const socklen_t addressBytes = socketAddressBytes(family_);
  for (mmsghdr& message : messages_) {  // the kernel overwrote these in the last call
    message.msg_hdr.msg_namelen = addressBytes;
    message.msg_hdr.msg_controllen = sizeof(Control);
  }
  const int got = ::recvmmsg(fd, messages_, MESSAGES, MSG_DONTWAIT, nullptr);
  datagrams_ = addressCount_ = 0;
  if (got < 0) {
    const int errorNumber = errno;
    return errorNumber == EAGAIN || errorNumber == EINTR ? 0 : -errorNumber;
  }
  coalescer_.begin();
  for (uint32_t i = 0; i < static_cast<uint32_t>(got); i++) takeMessage(i);
  const uint32_t frames = coalescer_.finish();
  for (uint32_t i = 0; i < frames; i++) {
    const CoalescedFrame& frame = coalescer_.frame(i);
    burst_.offset[i] = static_cast<int32_t>(frame.head - burst_.slab);
    burst_.length[i] = static_cast<int32_t>(frame.bytes);
    burst_.segments[i] = static_cast<int32_t>(frame.segments);
    burst_.wireBytes[i] = static_cast<int32_t>(frame.wireBytes);
    std::memcpy(burst_.source + size_t{i} * ADDRESS_WORDS, &addresses_[frame.source], sizeof(Address));
    burst_.outerClass[i] = frame.outerClass;
  }
  return static_cast<int>(frames);
}

void UdpReceiver::takeMessage(uint32_t index) {
  const uint32_t bytes = messages_[index].msg_len;
  const Said said = readControl(&messages_[index].msg_hdr);
  const uint32_t datagramBytes = said.trainBytes > 0 ? said.trainBytes : bytes;
  const uint32_t source = sourceOf(index);
  uint8_t* at = static_cast<uint8_t*>(pieces_[index].iov_base);
  uint32_t left = bytes;
  do {  // once for an empty datagram too: it is a frame that ends here, and is counted
    const uint32_t take = left < datagramBytes ? left : datagramBytes;
    if (!coalescer_.add(at, take, source, said.outerClass)) return;
    datagrams_++;
    at += take;
    left -= take;
  } while (left > 0);
}

UdpReceiver::Said UdpReceiver::readControl(msghdr* header) {
  Said said = {0, 0};
  int value;
  for (cmsghdr* control = CMSG_FIRSTHDR(header); control != nullptr; control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level == SOL_IP && control->cmsg_type == IP_TOS) {
      said.outerClass = *CMSG_DATA(control);
      continue;
    }
    if (control->cmsg_len < CMSG_LEN(sizeof(value))) continue;
    std::memcpy(&value, CMSG_DATA(control), sizeof(value));
    if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO && value > 0) {
      said.trainBytes = static_cast<uint32_t>(value);
    } else if (control->cmsg_level == SOL_IPV6 && control->cmsg_type == IPV6_TCLASS) {
      said.outerClass = static_cast<uint8_t>(value);
    }
  }
  return said;
}

/// Index of the message's address among those of this receive: what the coalescer compares instead of four words.
uint32_t UdpReceiver::sourceOf(uint32_t index) {
  Address& address = addresses_[addressCount_];  // there is one for each message
  takeAddress(sources_[index], family_, address.words);
  for (uint32_t i = 0; i < addressCount_; i++) {
    if (addresses_[i] == address) return i;
  }
  return addressCount_++;
}

}  // namespace selvage
