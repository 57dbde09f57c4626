#include "udp.h"

#include <arpa/inet.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>
#include <string>

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

std::string describe(const sockaddr_in& address) {
  char text[INET_ADDRSTRLEN] = "";
  ::inet_ntop(AF_INET, &address.sin_addr, text, sizeof(text));
  return std::string(text) + ":" + std::to_string(ntohs(address.sin_port));
}

sockaddr_in socketAddress(uint32_t address, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = htonl(address);
  result.sin_port = htons(port);
  return result;
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

bool setUdpOption(int fd, int option, int value) {
  return ::setsockopt(fd, SOL_UDP, option, &value, sizeof(value)) == 0;
}

}  // namespace

UdpSocket openUdp(const UdpSocketOptions& options) {
  UdpSocket result;
  result.fd = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  const int fd = result.fd.get();
  if (fd < 0) throw SetUpError{"socket", "UDP", errno};
  sockaddr_in address = socketAddress(options.address, options.port);
  const int on = 1;
  if (options.reusePort && ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) {
    throw SetUpError{"SO_REUSEPORT", describe(address), errno};
  }
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    throw SetUpError{"bind", describe(address), errno};
  }
  socklen_t size = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0) {
    throw SetUpError{"getsockname", describe(address), errno};
  }
  result.port = ntohs(address.sin_port);
  result.receiveBufferBytes = setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.receiveBufferBytes);
  result.sendBufferBytes = setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.sendBufferBytes);
  result.gso = setUdpOption(fd, UDP_SEGMENT, 0);
  result.gro = options.gro && setUdpOption(fd, UDP_GRO, 1);
  return result;
}

int64_t udpReceiveOverflow(int fd) {
  uint32_t values[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof(values);
  if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &size) < 0) return -errno;
  return values[SK_MEMINFO_DROPS];
}

// ---------------------------------------------------------------------------------------------------- receive

UdpReceiver::UdpReceiver(const Burst& burst, uint32_t coalesceKinds)
    : burst_(burst), coalescer_(MAX_DATAGRAMS, coalesceKinds) {
  for (uint32_t i = 0; i < MESSAGES; i++) {
    pieces_[i] = {burst_.slab + i * MESSAGE_STRIDE, 65535};
    msghdr& header = messages_[i].msg_hdr;
    header = {};
    header.msg_iov = &pieces_[i];
    header.msg_iovlen = 1;
    header.msg_name = &sources_[i];
    header.msg_control = &controls_[i];
  }
}

int UdpReceiver::recvBurst(int fd) {
  for (mmsghdr& message : messages_) {  // the kernel overwrote these in the last call
    message.msg_hdr.msg_namelen = sizeof(sockaddr_in);
    message.msg_hdr.msg_controllen = sizeof(Control);
  }
  const int got = ::recvmmsg(fd, messages_, MESSAGES, MSG_DONTWAIT, nullptr);
  datagrams_ = 0;
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
    burst_.source[i] = static_cast<int32_t>(frame.source);
  }
  return static_cast<int>(frames);
}

void UdpReceiver::takeMessage(uint32_t index) {
  msghdr& header = messages_[index].msg_hdr;
  const uint32_t bytes = messages_[index].msg_len;
  const uint32_t source = ntohl(sources_[index].sin_addr.s_addr);
  uint32_t datagramBytes = bytes;
  const cmsghdr* control = CMSG_FIRSTHDR(&header);
  if (control != nullptr && control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
    int segmentBytes;
    std::memcpy(&segmentBytes, CMSG_DATA(control), sizeof(segmentBytes));
    if (segmentBytes > 0) datagramBytes = static_cast<uint32_t>(segmentBytes);
  }
  uint8_t* at = static_cast<uint8_t*>(pieces_[index].iov_base);
  uint32_t left = bytes;
  do {  // once for an empty datagram too: it is a frame that ends here, and is counted
    const uint32_t take = left < datagramBytes ? left : datagramBytes;
    if (!coalescer_.add(at, take, source)) return;
    datagrams_++;
    at += take;
    left -= take;
  } while (left > 0);
}

// ---------------------------------------------------------------------------------------------------- send

namespace {

/// Whether two ordinary frames belong to one flow. A train holds one flow only: a receiver with several lanes picks
/// the lane by the first datagram of the train, and a flow must not change lanes (docs/adr/0003-lanes.md).
bool sameFlow(const uint8_t* a, const uint8_t* b, uint32_t bytes) {
  if (bytes < 20 || a[0] != b[0]) return false;
  constexpr uint8_t IPV4_WITHOUT_OPTIONS = 0x45;
  if (a[0] == IPV4_WITHOUT_OPTIONS) {
    if (a[9] != b[9] || std::memcmp(a + 12, b + 12, 8) != 0) return false;
    const bool fragment = ((a[6] | b[6]) & 0x3f) != 0 || (a[7] | b[7]) != 0;
    const bool ports = a[9] == IPPROTO_TCP || a[9] == IPPROTO_UDP;
    return !fragment && (!ports || (bytes >= 24 && std::memcmp(a + 20, b + 20, 4) == 0));
  }
  if ((a[0] >> 4) == 6 && bytes >= 44) {
    const bool ports = a[6] == IPPROTO_TCP || a[6] == IPPROTO_UDP;
    return a[6] == b[6] && std::memcmp(a + 8, b + 8, 32) == 0 && (!ports || std::memcmp(a + 40, b + 40, 4) == 0);
  }
  return false;
}

}  // namespace

UdpSender::UdpSender(bool gso) : gso_(gso), headers_(size_t{HEADERS} * HEADER_STRIDE) {
  for (uint32_t i = 0; i < MESSAGES; i++) {
    msghdr& header = messages_[i].msg_hdr;
    header = {};
    header.msg_name = &destinations_[i];
    header.msg_namelen = sizeof(sockaddr_in);
    destinations_[i] = socketAddress(0, 0);
  }
}

int UdpSender::send(int fd, const Burst& burst, uint32_t count, const Endpoints& endpoints) {
  burst_ = burst;
  endpoints_ = endpoints;
  count_ = count < burst.rows ? count : burst.rows;
  row_ = segment_ = trainCount_ = sent_ = rowsWithLoss_ = 0;
  for (uint32_t i = 0; i < count_; i++) burst_.clearLoss(i);
  return advance(fd);
}

int UdpSender::resume(int fd) { return advance(fd); }

void UdpSender::abandon() {
  for (;;) {
    for (; sent_ < trainCount_; sent_++) lose(trains_[sent_], EAGAIN);
    if (!fill()) return;
  }
}

/// Fills the arenas and sends them, until all rows are done or the socket buffer is full.
int UdpSender::advance(int fd) {
  for (;;) {
    if (sent_ == trainCount_ && !fill()) return 0;
    const int refused = flush(fd);
    if (refused > 0) return refused;
  }
}

/// Takes rows into trains until an arena is full.
/// @returns false when there was nothing left to take
bool UdpSender::fill() {
  trainCount_ = sent_ = piecesUsed_ = headersUsed_ = 0;
  while (row_ < count_) {
    const int32_t fate = burst_.fate[row_];
    if (fate <= 0) {
      row_++;
      continue;
    }
    const bool known = static_cast<uint32_t>(fate) < endpoints_.count;
    if (!known || !burst_.rowIsInside(row_, sizeof(VnetHeader)) || burst_.segments[row_] <= 0) {
      rejectRow(row_, 1, EFAULT);
      row_++;
      continue;
    }
    const bool taken = burst_.segments[row_] == 1 ? addPlain(row_) : addSuperframe(row_);
    if (!taken) break;
    row_++;
  }
  if (trainCount_ == 0) return false;
  prepareMessages();
  return true;
}

UdpSender::Train* UdpSender::openTrain(uint32_t row, bool superframe, uint32_t datagramBytes) {
  if (trainCount_ == MESSAGES) return nullptr;
  Train& train = trains_[trainCount_++];
  train = {row, row, 0, 0, datagramBytes, piecesUsed_, static_cast<uint32_t>(burst_.fate[row]), superframe, false};
  return &train;
}

bool UdpSender::joinsLast(uint32_t row) const {
  if (trainCount_ == 0 || !gso_) return false;
  const Train& last = trains_[trainCount_ - 1];
  const uint32_t bytes = static_cast<uint32_t>(burst_.length[row]);
  return !last.superframe && !last.closed && last.nextHop == static_cast<uint32_t>(burst_.fate[row]) &&
         last.datagrams < TRAIN_DATAGRAMS && bytes > 0 && bytes <= last.datagramBytes &&
         last.bytes + bytes <= TRAIN_BYTES &&
         sameFlow(burst_.slab + burst_.offset[last.firstRow], burst_.slab + burst_.offset[row], bytes);
}

bool UdpSender::addPlain(uint32_t row) {
  if (piecesUsed_ == PIECES) return false;
  const uint32_t bytes = static_cast<uint32_t>(burst_.length[row]);
  Train* train = joinsLast(row) ? &trains_[trainCount_ - 1] : openTrain(row, false, bytes);
  if (train == nullptr) return false;
  pieces_[piecesUsed_++] = {burst_.slab + burst_.offset[row], bytes};
  train->lastRow = row;
  train->datagrams++;
  train->bytes += bytes;
  if (bytes < train->datagramBytes) train->closed = true;
  return true;
}

/// Takes the segments of a superframe, from segment_ on, as one or several trains.
/// @returns false when an arena was full; segment_ then says where to go on
bool UdpSender::addSuperframe(uint32_t row) {
  uint8_t* frame = burst_.slab + burst_.offset[row];
  VnetHeader vnet;
  std::memcpy(&vnet, frame - sizeof(vnet), sizeof(vnet));
  SegmentPlan plan;
  const int planned = planSegments(vnet, frame, static_cast<uint32_t>(burst_.length[row]), &plan);
  if (planned < 0) {
    rejectRow(row, burst_.segments[row], -planned);
    return true;
  }
  const uint32_t datagramBytes = plan.headerBytes + plan.payloadBytes;
  const uint32_t fits = TRAIN_BYTES / datagramBytes;
  const uint32_t perTrain = !gso_ || fits == 0 ? 1 : (fits < TRAIN_DATAGRAMS ? fits : TRAIN_DATAGRAMS);
  while (segment_ < plan.segments) {
    const uint32_t wanted = plan.segments - segment_ < perTrain ? plan.segments - segment_ : perTrain;
    if (piecesUsed_ + 2 * wanted > PIECES || headersUsed_ + wanted > HEADERS) return false;
    Train* train = openTrain(row, true, datagramBytes);
    if (train == nullptr) return false;
    for (uint32_t i = 0; i < wanted; i++) {
      uint8_t* header = headers_.data() + size_t{headersUsed_++} * HEADER_STRIDE;
      const uint8_t* payload;
      const uint32_t payloadBytes = stampSegment(plan, segment_++, header, &payload);
      pieces_[piecesUsed_++] = {header, plan.headerBytes};
      pieces_[piecesUsed_++] = {const_cast<uint8_t*>(payload), payloadBytes};
      train->bytes += plan.headerBytes + payloadBytes;
    }
    train->datagrams = wanted;
  }
  segment_ = 0;
  return true;
}

void UdpSender::prepareMessages() {
  for (uint32_t i = 0; i < trainCount_; i++) {
    const Train& train = trains_[i];
    const int32_t* endpoint = endpoints_.words + size_t{train.nextHop} * 2;
    destinations_[i].sin_addr.s_addr = htonl(static_cast<uint32_t>(endpoint[0]));
    destinations_[i].sin_port = htons(static_cast<uint16_t>(endpoint[1]));
    msghdr& header = messages_[i].msg_hdr;
    header.msg_iov = &pieces_[train.firstPiece];
    header.msg_iovlen = train.superframe ? train.datagrams * 2 : train.datagrams;
    header.msg_control = nullptr;
    header.msg_controllen = 0;
    if (train.datagrams > 1) {
      header.msg_control = &controls_[i];
      header.msg_controllen = sizeof(Control);
      cmsghdr* control = CMSG_FIRSTHDR(&header);
      control->cmsg_level = SOL_UDP;
      control->cmsg_type = UDP_SEGMENT;
      control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
      const uint16_t segmentBytes = static_cast<uint16_t>(train.datagramBytes);
      std::memcpy(CMSG_DATA(control), &segmentBytes, sizeof(segmentBytes));
    }
  }
}

/// @returns messages left when the socket buffer is full, 0 when every train is done with
int UdpSender::flush(int fd) {
  while (sent_ < trainCount_) {
    const int done = ::sendmmsg(fd, messages_ + sent_, trainCount_ - sent_, MSG_DONTWAIT);
    systemCalls_++;
    if (done > 0) {
      sent_ += static_cast<uint32_t>(done);
      continue;
    }
    const int errorNumber = errno;
    if (errorNumber == EINTR) continue;
    if (errorNumber == EAGAIN) return static_cast<int>(trainCount_ - sent_);
    onRefused(fd, sent_, errorNumber);
    sent_++;
  }
  return 0;
}

/// A refused train costs its own frames only, and those only when they cannot leave one by one either.
void UdpSender::onRefused(int fd, uint32_t message, int errorNumber) {
  const Train& train = trains_[message];
  // EIO: the device cannot complete checksums (Linux net/ipv4/udp.c udp_send_skb). EINVAL and EMSGSIZE: a datagram is
  // larger than the path takes, and a train cannot be fragmented; alone, it can.
  const bool offloadRefused = errorNumber == EIO || errorNumber == EINVAL || errorNumber == EMSGSIZE ||
                              errorNumber == EOPNOTSUPP;
  if (errorNumber == EIO && train.datagrams > 1) gso_ = false;
  if (train.datagrams > 1 && offloadRefused) {
    sendOneByOne(fd, train);
    return;
  }
  lose(train, errorNumber);
}

/// Without waiting: a buffer that is full meanwhile costs the rest of this one train.
void UdpSender::sendOneByOne(int fd, const Train& train) {
  const uint32_t perDatagram = train.superframe ? 2 : 1;
  uint32_t row = train.firstRow;
  for (uint32_t i = 0; i < train.datagrams; i++, row++) {
    while (!train.superframe && burst_.fate[row] <= 0) row++;  // rows that were never in the train
    if (train.superframe) row = train.firstRow;
    msghdr header{};
    header.msg_name = messages_[&train - trains_].msg_hdr.msg_name;
    header.msg_namelen = sizeof(sockaddr_in);
    header.msg_iov = &pieces_[train.firstPiece + i * perDatagram];
    header.msg_iovlen = perDatagram;
    systemCalls_++;
    if (::sendmsg(fd, &header, MSG_DONTWAIT) < 0) loseRow(row, 1, errno);
  }
}

void UdpSender::lose(const Train& train, int errorNumber) {
  if (train.superframe) {
    loseRow(train.firstRow, static_cast<int32_t>(train.datagrams), errorNumber);
    return;
  }
  for (uint32_t row = train.firstRow; row <= train.lastRow; row++) {
    if (burst_.fate[row] > 0) loseRow(row, 1, errorNumber);
  }
}

/// A row that no train can take. It ends the open train, so that a train's rows are all its own.
void UdpSender::rejectRow(uint32_t row, int32_t frames, int errorNumber) {
  if (trainCount_ > 0) trains_[trainCount_ - 1].closed = true;
  loseRow(row, frames, errorNumber);
}

void UdpSender::loseRow(uint32_t row, int32_t frames, int errorNumber) {
  if (burst_.lost[row] == 0) rowsWithLoss_++;
  burst_.addLoss(row, frames, errorNumber);
}

}  // namespace selvage
