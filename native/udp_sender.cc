#include "udp_sender.h"

#include <netinet/udp.h>

#include <cerrno>
#include <cstring>

#include "fragment.h"
#include "udp.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

namespace selvage {

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

constexpr size_t CLASS_CONTROL_BYTES = CMSG_SPACE(sizeof(int));

}  // namespace

UdpSender::UdpSender(bool gso, int family)
    : gso_(gso), family_(family), headers_(size_t{HEADERS} * HEADER_STRIDE), controls_{} {
  for (uint32_t i = 0; i < MESSAGES; i++) {
    msghdr& header = messages_[i].msg_hdr;
    header = {};
    header.msg_name = &destinations_[i];
    header.msg_namelen = socketAddressBytes(family);
    destinations_[i] = emptySocketAddress(family);
  }
}

int UdpSender::send(int fd, const Burst& burst, uint32_t count, const Endpoints& endpoints) {
  burst_ = burst;
  endpoints_ = endpoints;
  count_ = count < burst.rows ? count : burst.rows;
  row_ = segment_ = fragment_ = trainCount_ = sent_ = rowsWithLoss_ = 0;
  lostRow_ = NONE;
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
  anyOuterFragments_ = false;
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
    const bool ordinary = burst_.segments[row_] == 1;
    const bool taken = burst_.cut[row_] != CUT_NONE ? addCut(row_) : ordinary ? addPlain(row_) : addSuperframe(row_);
    if (!taken) break;
    row_++;
  }
  if (trainCount_ == 0) return false;
  prepareMessages();
  return true;
}

UdpSender::Train* UdpSender::openTrain(uint32_t row, Kind kind, uint32_t datagramBytes) {
  if (trainCount_ == MESSAGES) return nullptr;
  Train& train = trains_[trainCount_++];
  train = {};
  train.firstRow = train.lastRow = row;
  train.datagramBytes = datagramBytes;
  train.firstPiece = piecesUsed_;
  train.nextHop = static_cast<uint32_t>(burst_.fate[row]);
  train.outerClass = burst_.outerClass[row] & 0xff;
  train.kind = kind;
  return &train;
}

bool UdpSender::joinsLast(uint32_t row) const {
  if (trainCount_ == 0 || !gso_) return false;
  const Train& last = trains_[trainCount_ - 1];
  const uint32_t bytes = static_cast<uint32_t>(burst_.length[row]);
  return last.kind == Kind::FRAMES && !last.closed && last.nextHop == static_cast<uint32_t>(burst_.fate[row]) &&
         last.outerClass == (burst_.outerClass[row] & 0xff) && last.datagrams < TRAIN_DATAGRAMS && bytes > 0 &&
         bytes <= last.datagramBytes && last.bytes + bytes <= TRAIN_BYTES &&
         sameFlow(burst_.slab + burst_.offset[last.firstRow], burst_.slab + burst_.offset[row], bytes);
}

bool UdpSender::addPlain(uint32_t row) {
  if (piecesUsed_ == PIECES) return false;
  const uint32_t bytes = static_cast<uint32_t>(burst_.length[row]);
  Train* train = joinsLast(row) ? &trains_[trainCount_ - 1] : openTrain(row, Kind::FRAMES, bytes);
  if (train == nullptr) return false;
  pieces_[piecesUsed_++] = {burst_.slab + burst_.offset[row], bytes};
  train->lastRow = row;
  train->pieces++;
  train->datagrams++;
  train->bytes += bytes;
  if (bytes < train->datagramBytes) train->closed = true;
  return true;
}

/// Stamps the header of segment segment_ into the arena, in which the caller found room, and goes on to the next.
UdpSender::Parts UdpSender::stampNext(const SegmentPlan& plan) {
  uint8_t* header = headers_.data() + size_t{headersUsed_++} * HEADER_STRIDE;
  const uint8_t* payload;
  const uint32_t payloadBytes = stampSegment(plan, segment_++, header, &payload);
  return {{header, plan.headerBytes}, {const_cast<uint8_t*>(payload), payloadBytes}};
}

/// Takes the segments of a superframe, from segment_ on, as one or several trains.
/// @returns false when an arena was full; segment_ then says where to go on
bool UdpSender::addSuperframe(uint32_t row) {
  SegmentPlan plan;
  if (!planRow(row, &plan)) return true;
  const uint32_t datagramBytes = plan.headerBytes + plan.payloadBytes;
  const uint32_t fits = TRAIN_BYTES / datagramBytes;
  const uint32_t perTrain = !gso_ || fits == 0 ? 1 : (fits < TRAIN_DATAGRAMS ? fits : TRAIN_DATAGRAMS);
  while (segment_ < plan.segments) {
    const uint32_t wanted = plan.segments - segment_ < perTrain ? plan.segments - segment_ : perTrain;
    if (piecesUsed_ + 2 * wanted > PIECES || headersUsed_ + wanted > HEADERS) return false;
    Train* train = openTrain(row, Kind::SEGMENTS, datagramBytes);
    if (train == nullptr) return false;
    for (uint32_t i = 0; i < wanted; i++) {
      const Parts segment = stampNext(plan);
      pieces_[piecesUsed_++] = segment.start;
      pieces_[piecesUsed_++] = segment.rest;
      train->bytes += static_cast<uint32_t>(segment.start.iov_len + segment.rest.iov_len);
    }
    train->datagrams = wanted;
    train->pieces = 2 * wanted;
  }
  segment_ = 0;
  return true;
}

/// @returns false when the row is no superframe; it is then lost
bool UdpSender::planRow(uint32_t row, SegmentPlan* plan) {
  const uint8_t* frame = burst_.slab + burst_.offset[row];
  VnetHeader vnet;
  std::memcpy(&vnet, frame - sizeof(vnet), sizeof(vnet));
  const int planned = planSegments(vnet, frame, static_cast<uint32_t>(burst_.length[row]), plan);
  if (planned < 0) rejectRow(row, burst_.segments[row], -planned);
  return planned >= 0;
}

/// Takes the frames of a row whose `cut` is set, from segment_ and fragment_ on, each as datagrams of its own.
/// @returns false when an arena was full
bool UdpSender::addCut(uint32_t row) {
  if (burst_.segments[row] == 1) {
    const size_t bytes = static_cast<size_t>(burst_.length[row]);
    return addCutFrame(row, 0, {{burst_.slab + burst_.offset[row], bytes}, {nullptr, 0}});
  }
  SegmentPlan plan;
  if (!planRow(row, &plan)) return true;
  while (segment_ < plan.segments) {
    if (headersUsed_ == HEADERS) return false;
    const uint32_t segment = segment_;
    if (!addCutFrame(row, segment, stampNext(plan))) {
      segment_ = segment;  // stamped again when there is room
      return false;
    }
  }
  segment_ = 0;
  return true;
}

bool UdpSender::addCutFrame(uint32_t row, uint32_t segment, const Parts& frame) {
  const size_t bytes = frame.start.iov_len + frame.rest.iov_len;
  const int32_t cut = burst_.cut[row];
  if (cut > 0 && bytes > static_cast<size_t>(cut)) return addFragments(row, segment, frame);
  if (piecesUsed_ + 2 > PIECES) return false;
  Train* train = openTrain(row, Kind::FRAGMENT, static_cast<uint32_t>(bytes));
  if (train == nullptr) return false;
  train->segment = segment;
  train->datagrams = 1;
  train->outerFragments = cut < 0;
  anyOuterFragments_ = anyOuterFragments_ || cut < 0;
  addPart(train, frame, 0, bytes);
  return true;
}

/// Takes the fragments of a frame, from fragment_ on.
/// @returns false when an arena was full
bool UdpSender::addFragments(uint32_t row, uint32_t segment, const Parts& frame) {
  FragmentPlan plan;
  const uint8_t* start = static_cast<const uint8_t*>(frame.start.iov_base);
  const uint32_t bytes = static_cast<uint32_t>(frame.start.iov_len + frame.rest.iov_len);
  const int planned = planFragments(start, static_cast<uint32_t>(frame.start.iov_len), bytes,
                                    static_cast<uint32_t>(burst_.cut[row]), &plan);
  if (planned < 0) {
    rejectRow(row, 1, -planned);
    return true;
  }
  while (fragment_ < plan.fragments) {
    if (piecesUsed_ + 3 > PIECES || headersUsed_ == HEADERS) return false;
    Train* train = openTrain(row, Kind::FRAGMENT, static_cast<uint32_t>(burst_.cut[row]));
    if (train == nullptr) return false;
    uint8_t* header = headers_.data() + size_t{headersUsed_++} * HEADER_STRIDE;
    const Fragment fragment = stampFragment(plan, fragment_++, header);
    train->segment = segment;
    train->datagrams = 1;
    train->pieces = 1;
    pieces_[piecesUsed_++] = {header, fragment.headerBytes};
    addPart(train, frame, plan.firstHeaderBytes + fragment.dataAt, fragment.dataBytes);
  }
  fragment_ = 0;
  return true;
}

/// Adds `bytes` of a frame, from its byte `from` on, as one or two pieces of the train's datagram.
void UdpSender::addPart(Train* train, const Parts& frame, size_t from, size_t bytes) {
  const size_t inStart = frame.start.iov_len;
  if (from < inStart) {
    const size_t take = bytes < inStart - from ? bytes : inStart - from;
    pieces_[piecesUsed_++] = {static_cast<uint8_t*>(frame.start.iov_base) + from, take};
    train->pieces++;
    from += take;
    bytes -= take;
  }
  if (bytes == 0) return;
  pieces_[piecesUsed_++] = {static_cast<uint8_t*>(frame.rest.iov_base) + (from - inStart), bytes};
  train->pieces++;
}

void UdpSender::prepareMessages() {
  for (uint32_t i = 0; i < trainCount_; i++) {
    const Train& train = trains_[i];
    const int32_t* endpoint = endpoints_.words + size_t{train.nextHop} * ENDPOINT_WORDS;
    putEndpoint(&destinations_[i], family_, endpoint, static_cast<uint16_t>(endpoint[ADDRESS_WORDS]));
    msghdr& header = messages_[i].msg_hdr;
    header.msg_iov = &pieces_[train.firstPiece];
    header.msg_iovlen = train.pieces;
    header.msg_control = nullptr;
    header.msg_controllen = 0;
    if (train.datagrams > 1 || train.outerClass != 0) prepareControl(i);
  }
}

void UdpSender::prepareControl(uint32_t message) {
  const Train& train = trains_[message];
  msghdr& header = messages_[message].msg_hdr;
  header.msg_control = &controls_[message];
  header.msg_controllen = sizeof(Control);
  cmsghdr* control = CMSG_FIRSTHDR(&header);
  size_t used = 0;
  if (train.outerClass != 0) {
    const bool ipv6 = family_ == AF_INET6;
    control->cmsg_level = ipv6 ? SOL_IPV6 : SOL_IP;
    control->cmsg_type = ipv6 ? IPV6_TCLASS : IP_TOS;
    control->cmsg_len = CMSG_LEN(sizeof(train.outerClass));
    std::memcpy(CMSG_DATA(control), &train.outerClass, sizeof(train.outerClass));
    used = CLASS_CONTROL_BYTES;
    control = reinterpret_cast<cmsghdr*>(controls_[message].bytes + used);
  }
  if (train.datagrams > 1) {
    control->cmsg_level = SOL_UDP;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    const uint16_t segmentBytes = static_cast<uint16_t>(train.datagramBytes);
    std::memcpy(CMSG_DATA(control), &segmentBytes, sizeof(segmentBytes));
    used += CMSG_SPACE(sizeof(segmentBytes));
  }
  header.msg_controllen = used;
}

/// How many of the trains that are left, from the first on, leave with the same setting of outer fragmentation.
uint32_t UdpSender::messagesOfOneSetting() const {
  if (!anyOuterFragments_) return trainCount_ - sent_;
  uint32_t end = sent_ + 1;
  while (end < trainCount_ && trains_[end].outerFragments == trains_[sent_].outerFragments) end++;
  return end - sent_;
}

/// @returns messages left when the socket buffer is full, 0 when every train is done with
int UdpSender::flush(int fd) {
  while (sent_ < trainCount_) {
    const bool outerFragments = trains_[sent_].outerFragments;
    if (outerFragments) allowOuterFragments(fd, family_, true);
    const int done = ::sendmmsg(fd, messages_ + sent_, messagesOfOneSetting(), MSG_DONTWAIT);
    const int errorNumber = errno;
    systemCalls_++;
    if (outerFragments) allowOuterFragments(fd, family_, false);
    if (done > 0) {
      sent_ += static_cast<uint32_t>(done);
      continue;
    }
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
  // larger than the path takes. Alone, those leave that are not: the last of a train is often shorter.
  const bool offloadRefused =
      errorNumber == EIO || errorNumber == EINVAL || errorNumber == EMSGSIZE || errorNumber == EOPNOTSUPP;
  if (errorNumber == EIO && train.datagrams > 1) gso_ = false;
  if (train.datagrams > 1 && offloadRefused) {
    sendOneByOne(fd, train);
    return;
  }
  lose(train, errorNumber);
}

/// Without waiting: a buffer that is full meanwhile costs the rest of this one train.
void UdpSender::sendOneByOne(int fd, const Train& train) {
  const uint32_t perDatagram = train.kind == Kind::SEGMENTS ? 2 : 1;
  msghdr header = messages_[&train - trains_].msg_hdr;
  header.msg_controllen = train.outerClass != 0 ? CLASS_CONTROL_BYTES : 0;
  header.msg_iovlen = perDatagram;
  uint32_t row = train.firstRow;
  for (uint32_t i = 0; i < train.datagrams; i++, row++) {
    while (train.kind == Kind::FRAMES && burst_.fate[row] <= 0) row++;  // rows that were never in the train
    if (train.kind == Kind::SEGMENTS) row = train.firstRow;
    header.msg_iov = &pieces_[train.firstPiece + i * perDatagram];
    systemCalls_++;
    if (::sendmsg(fd, &header, MSG_DONTWAIT) < 0) loseRow(row, 1, errno);
  }
}

void UdpSender::lose(const Train& train, int errorNumber) {
  if (train.kind == Kind::FRAGMENT) {
    loseFragment(train, errorNumber);
  } else if (train.kind == Kind::SEGMENTS) {
    loseRow(train.firstRow, static_cast<int32_t>(train.datagrams), errorNumber);
  } else {
    for (uint32_t row = train.firstRow; row <= train.lastRow; row++) {
      if (burst_.fate[row] > 0) loseRow(row, 1, errorNumber);
    }
  }
}

/// However many of its fragments are lost, a frame is lost once. They leave in order, so the last one tells.
void UdpSender::loseFragment(const Train& train, int errorNumber) {
  if (lostRow_ == train.firstRow && lostSegment_ == train.segment) return;
  lostRow_ = train.firstRow;
  lostSegment_ = train.segment;
  loseRow(train.firstRow, 1, errorNumber);
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
