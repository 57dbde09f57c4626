#include "coalesce.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "checksum.h"
#include "inet.h"

namespace selvage {

struct Coalescer::Candidate {
  uint8_t* start;
  uint32_t bytes;
  uint32_t source;
  uint8_t outerClass;
  uint32_t pair;  // bucket of the address pair
  uint32_t tag;   // hash of the flow
  uint32_t ipBytes;
  uint32_t headerBytes;
  uint32_t payloadBytes;
  bool ipv6;
  bool tcp;
  bool push;

  /// What a datagram can do to the chains that are open.
  enum class Standing {
    STRANGER,  // no IP header: it belongs to no flow
    PAIR,      // ports cannot be read: ends the chains of its address pair
    FLOW,      // cannot be joined: ends the chain of its flow
    JOINABLE,
  };

  Standing read();
  bool checksumsRight() const;

 private:
  uint64_t readIpv4();
  uint64_t readIpv6();
  Standing readTransport(uint64_t addressHash);
  Standing readTcp(const uint8_t* transport, uint32_t transportBytes);
  Standing readUdp(const uint8_t* transport, uint32_t transportBytes);
};

namespace {

// Parts of headers compared as 64-bit words, in memory order whatever the host's.
constexpr uint64_t mask64(std::array<uint8_t, 8> bytes) { return std::bit_cast<uint64_t>(bytes); }

// IPv4 bytes 0-7 without total length and identification; 8-15 without header checksum.
constexpr uint64_t IPV4_FIRST_EQUAL = mask64({0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff});
constexpr uint64_t IPV4_SECOND_EQUAL = mask64({0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff});
// IPv6 bytes 0-7 without payload length.
constexpr uint64_t IPV6_FIRST_EQUAL = mask64({0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff});
// TCP bytes 8-15 (acknowledgment, data offset, flags, window) without PSH.
constexpr uint64_t TCP_SECOND_EQUAL = mask64({0xff, 0xff, 0xff, 0xff, 0xff, 0xff & ~TCP_PSH, 0xff, 0xff});

bool differ64(const uint8_t* a, const uint8_t* b, uint64_t mask) { return ((rawLoad64(a) ^ rawLoad64(b)) & mask) != 0; }

bool differ32(const uint8_t* a, const uint8_t* b) { return rawLoad32(a) != rawLoad32(b); }

/// Mixes two words so that every bit reaches the result. The constants are arbitrary odd ones (from wyhash).
uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a ^ 0xa0761d6478bd642full) * (b ^ 0xe7037ed1a0b428dbull);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

/// Everything outside lengths, identification and checksum equal, addresses and ports included.
bool sameIpv4(const uint8_t* a, const uint8_t* b) {
  return !differ64(a, b, IPV4_FIRST_EQUAL) && !differ64(a + 8, b + 8, IPV4_SECOND_EQUAL) &&
         !differ64(a + 16, b + 16, ~uint64_t{0});
}

bool sameIpv6(const uint8_t* a, const uint8_t* b) {
  uint64_t difference = (rawLoad64(a) ^ rawLoad64(b)) & IPV6_FIRST_EQUAL;
  for (uint32_t at = 8; at < IPV6_BYTES; at += 8) difference |= rawLoad64(a + at) ^ rawLoad64(b + at);
  return difference == 0 && !differ32(a + IPV6_BYTES, b + IPV6_BYTES);
}

/// Acknowledgment, flags but PSH, window, urgent pointer and options equal. Both headers have `bytes` bytes or more.
bool sameTcp(const uint8_t* a, const uint8_t* b, uint32_t bytes) {
  if (differ64(a + TCP_ACKNOWLEDGMENT, b + TCP_ACKNOWLEDGMENT, TCP_SECOND_EQUAL)) return false;
  if (load16(a + TCP_URGENT) != load16(b + TCP_URGENT)) return false;
  for (uint32_t at = TCP_MIN_BYTES; at < bytes; at += 4) {
    if (differ32(a + at, b + at)) return false;
  }
  return true;
}

uint32_t kindOf(bool tcp, bool ipv6) {
  if (tcp) return ipv6 ? COALESCE_TCP6 : COALESCE_TCP4;
  return ipv6 ? COALESCE_UDP6 : COALESCE_UDP4;
}

/// Pseudo-header sum of a datagram or superframe whose transport part is `transportBytes` long.
uint64_t pseudoSum(const uint8_t* datagram, bool tcp, bool ipv6, uint32_t transportBytes) {
  const uint8_t protocol = tcp ? PROTOCOL_TCP : PROTOCOL_UDP;
  return ipv6 ? pseudoHeaderSum(datagram + IPV6_ADDRESSES, IPV6_ADDRESS_BYTES, protocol, transportBytes)
              : pseudoHeaderSum(datagram + IPV4_ADDRESSES, IPV4_ADDRESS_BYTES, protocol, transportBytes);
}

bool ipv4HeaderRight(const uint8_t* header) { return foldChecksum(checksumSum(header, IPV4_MIN_BYTES, 0)) == 0xffff; }

/// Are the IPv4 header checksum (if there is one) and the transport checksum of a joinable datagram right?
bool checksumsOf(const uint8_t* datagram, uint32_t bytes, bool tcp, bool ipv6) {
  if (!ipv6 && !ipv4HeaderRight(datagram)) return false;
  const uint32_t ipBytes = ipv6 ? IPV6_BYTES : IPV4_MIN_BYTES;
  const uint64_t pseudo = pseudoSum(datagram, tcp, ipv6, bytes - ipBytes);
  return foldChecksum(checksumSum(datagram + ipBytes, bytes - ipBytes, pseudo)) == 0xffff;
}

void patchIpv4(uint8_t* header, uint32_t frameBytes) {
  store16(header + IPV4_TOTAL_LENGTH, frameBytes);
  store16(header + IPV4_CHECKSUM, 0);
  store16(header + IPV4_CHECKSUM, ~uint32_t{foldChecksum(checksumSum(header, IPV4_MIN_BYTES, 0))});
}

/// The head's header becomes the superframe's: lengths, and the pseudo-header sum that NEEDS_CSUM expects.
void patchHead(CoalescedFrame& frame, bool tcp, bool ipv6, bool push) {
  const uint32_t ipBytes = ipv6 ? IPV6_BYTES : IPV4_MIN_BYTES;
  const uint32_t transportBytes = frame.bytes - ipBytes;
  uint8_t* transport = frame.head + ipBytes;
  if (ipv6) {
    store16(frame.head + IPV6_PAYLOAD_LENGTH, transportBytes);
  } else {
    patchIpv4(frame.head, frame.bytes);
  }
  const uint16_t pseudo = foldChecksum(pseudoSum(frame.head, tcp, ipv6, transportBytes));
  if (tcp) {
    if (push) transport[TCP_FLAGS] |= TCP_PSH;
    store16(transport + TCP_CHECKSUM, pseudo);
  } else {
    store16(transport + UDP_LENGTH, transportBytes);
    store16(transport + UDP_CHECKSUM, pseudo);
  }
}

uint8_t gsoTypeOf(bool tcp, bool ipv6) {
  if (!tcp) return VNET_GSO_UDP_L4;
  return ipv6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
}

}  // namespace

/// Hash of source and addresses; `ipBytes` stays 0 when the ports cannot be read.
uint64_t Coalescer::Candidate::readIpv4() {
  const bool plain = start[0] == 0x45 && load16(start + IPV4_TOTAL_LENGTH) == bytes &&
                     (load16(start + IPV4_FRAGMENT) & ~IPV4_DONT_FRAGMENT) == 0;
  tcp = start[IPV4_PROTOCOL] == PROTOCOL_TCP;
  ipBytes = plain && (tcp || start[IPV4_PROTOCOL] == PROTOCOL_UDP) ? IPV4_MIN_BYTES : 0;
  return mix(rawLoad64(start + IPV4_ADDRESSES), source);
}

uint64_t Coalescer::Candidate::readIpv6() {
  const uint8_t protocol = start[IPV6_NEXT_HEADER];
  tcp = protocol == PROTOCOL_TCP;
  const bool plain = load16(start + IPV6_PAYLOAD_LENGTH) == bytes - IPV6_BYTES;
  ipBytes = plain && (tcp || protocol == PROTOCOL_UDP) ? IPV6_BYTES : 0;
  const uint8_t* addresses = start + IPV6_ADDRESSES;
  const uint64_t from = mix(rawLoad64(addresses), rawLoad64(addresses + 8));
  const uint64_t to = mix(rawLoad64(addresses + 16), rawLoad64(addresses + 24));
  return mix(from ^ source, to);
}

Coalescer::Candidate::Standing Coalescer::Candidate::read() {
  if (bytes < IPV4_MIN_BYTES) return Standing::STRANGER;
  const uint32_t version = start[0] >> 4;
  ipv6 = version == 6;
  if (ipv6 ? bytes < IPV6_BYTES : version != 4) return Standing::STRANGER;
  return readTransport(ipv6 ? readIpv6() : readIpv4());
}

Coalescer::Candidate::Standing Coalescer::Candidate::readTransport(uint64_t addressHash) {
  pair = static_cast<uint32_t>(addressHash) % PAIR_BUCKETS;
  if (ipBytes == 0) return Standing::PAIR;
  const uint8_t* transport = start + ipBytes;
  const uint32_t transportBytes = bytes - ipBytes;
  if (transportBytes < (tcp ? TCP_MIN_BYTES : UDP_BYTES)) return Standing::PAIR;
  tag = static_cast<uint32_t>(mix(addressHash, uint64_t{rawLoad32(transport)} << 1 | (tcp ? 1 : 0)));
  return tcp ? readTcp(transport, transportBytes) : readUdp(transport, transportBytes);
}

/// Joinable: ACK alone, or with PSH, no reserved bit, and payload.
Coalescer::Candidate::Standing Coalescer::Candidate::readTcp(const uint8_t* transport, uint32_t transportBytes) {
  const uint32_t tcpBytes = (transport[TCP_DATA_OFFSET] >> 4) * 4u;
  if (tcpBytes < TCP_MIN_BYTES || tcpBytes >= transportBytes) return Standing::FLOW;
  const uint8_t flags = transport[TCP_FLAGS];
  if ((transport[TCP_DATA_OFFSET] & 0x0f) != 0 || (flags & ~TCP_PSH) != TCP_ACK) return Standing::FLOW;
  headerBytes = ipBytes + tcpBytes;
  payloadBytes = transportBytes - tcpBytes;
  push = (flags & TCP_PSH) != 0;
  return Standing::JOINABLE;
}

/// Joinable: a checksum, the right length, and payload.
Coalescer::Candidate::Standing Coalescer::Candidate::readUdp(const uint8_t* transport, uint32_t transportBytes) {
  if (load16(transport + UDP_LENGTH) != transportBytes || load16(transport + UDP_CHECKSUM) == 0) return Standing::FLOW;
  if (transportBytes == UDP_BYTES) return Standing::FLOW;
  headerBytes = ipBytes + UDP_BYTES;
  payloadBytes = transportBytes - UDP_BYTES;
  push = false;
  return Standing::JOINABLE;
}

bool Coalescer::Candidate::checksumsRight() const { return checksumsOf(start, bytes, tcp, ipv6); }

Coalescer::Coalescer(uint32_t maxDatagrams, uint32_t kinds)
    : kinds_(kinds),
      datagrams_(maxDatagrams),
      chains_(maxDatagrams),
      slots_(std::bit_ceil(std::max(size_t{maxDatagrams} * 2, size_t{MAX_PROBES}))) {
  begin();
}

void Coalescer::begin() {
  datagramCount_ = 0;
  chainCount_ = 0;
  pairEndedAt_.fill(0);
  if (++generation_ != 0) return;
  // After 65,536 bursts the stamps come round again: an old slot must not pass for one of this burst.
  std::fill(slots_.begin(), slots_.end(), Slot{});
  generation_ = 1;
}

bool Coalescer::add(uint8_t* datagram, uint32_t bytes, uint32_t source, uint8_t outerClass) {
  if (datagramCount_ == datagrams_.size()) return false;
  const uint32_t index = datagramCount_++;
  datagrams_[index] = {datagram, bytes, NONE};
  Candidate candidate;
  candidate.start = datagram;
  candidate.bytes = bytes;
  candidate.source = source;
  candidate.outerClass = outerClass;
  candidate.headerBytes = 0;
  candidate.payloadBytes = 0;
  switch (candidate.read()) {
    case Candidate::Standing::JOINABLE:
      addJoinable(candidate, index);
      return true;
    case Candidate::Standing::FLOW:
      if (Slot* slot = findSlot(candidate.tag)) slot->chain = NONE;
      break;
    case Candidate::Standing::PAIR:
      pairEndedAt_[candidate.pair] = index + 1;
      break;
    case Candidate::Standing::STRANGER:
      break;
  }
  startChain(candidate, index);
  return true;
}

void Coalescer::addJoinable(const Candidate& candidate, uint32_t datagram) {
  if ((kinds_ & kindOf(candidate.tcp, candidate.ipv6)) == 0) {
    startChain(candidate, datagram);
    return;
  }
  Slot& slot = claimSlot(candidate.tag);
  Joined joined = Joined::CANNOT;
  if (slot.chain != NONE) joined = join(chains_[slot.chain], candidate, datagram);
  if (joined == Joined::CANNOT) slot.chain = startChain(candidate, datagram);
  if (joined == Joined::BAD_CHECKSUM) startChain(candidate, datagram);
  // Nothing follows a pushed segment, a short one, or one that must stay alone.
  const bool shorter = joined == Joined::YES && candidate.payloadBytes < chains_[slot.chain].payloadBytes;
  if (joined == Joined::BAD_CHECKSUM || candidate.push || shorter) slot.chain = NONE;
}

Coalescer::Joined Coalescer::join(Chain& chain, const Candidate& candidate, uint32_t datagram) {
  if (!follows(chain, candidate)) return Joined::CANNOT;
  if (!chain.verified) {
    const CoalescedFrame& head = chain.frame;
    if (!checksumsOf(head.head, head.bytes, chain.tcp, chain.ipv6)) return Joined::CANNOT;
    chain.verified = true;
  }
  if (!candidate.checksumsRight()) return Joined::BAD_CHECKSUM;
  datagrams_[chain.last].next = datagram;
  chain.last = datagram;
  chain.push = candidate.push;
  chain.frame.bytes += candidate.payloadBytes;
  chain.frame.segments++;
  return Joined::YES;
}

/// Is the candidate the next segment of the chain, its checksums aside? The chain's payloads are all equally long: a
/// shorter one has ended it.
bool Coalescer::follows(const Chain& chain, const Candidate& candidate) const {
  const CoalescedFrame& frame = chain.frame;
  if (chain.tcp != candidate.tcp || chain.ipv6 != candidate.ipv6 || frame.source != candidate.source) return false;
  if (frame.outerClass != candidate.outerClass) return false;
  if (chain.headerBytes != candidate.headerBytes || candidate.payloadBytes > chain.payloadBytes) return false;
  if (frame.segments >= MAX_SEGMENTS || frame.bytes + candidate.payloadBytes > MAX_FRAME_BYTES) return false;
  if (pairEndedAt_[candidate.pair] > chain.last) return false;

  const uint8_t* head = frame.head;
  if (candidate.ipv6) {
    if (!sameIpv6(head, candidate.start)) return false;
  } else {
    if (!sameIpv4(head, candidate.start)) return false;
    const uint16_t expected = static_cast<uint16_t>(load16(head + IPV4_IDENTIFICATION) + frame.segments);
    const bool meaningless = (load16(head + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) != 0;
    if (!meaningless && load16(candidate.start + IPV4_IDENTIFICATION) != expected) return false;
  }
  if (!candidate.tcp) return true;

  const uint8_t* headTcp = head + candidate.ipBytes;
  const uint8_t* tcp = candidate.start + candidate.ipBytes;
  const uint32_t expected = load32(headTcp + TCP_SEQUENCE) + frame.segments * chain.payloadBytes;
  return load32(tcp + TCP_SEQUENCE) == expected && sameTcp(headTcp, tcp, candidate.headerBytes - candidate.ipBytes);
}

uint32_t Coalescer::startChain(const Candidate& candidate, uint32_t datagram) {
  const uint32_t index = chainCount_++;
  Chain& chain = chains_[index];
  chain.frame = {candidate.start, candidate.bytes, 1, candidate.bytes, candidate.source, candidate.outerClass, {}};
  chain.first = datagram;
  chain.last = datagram;
  chain.verified = false;
  chain.push = false;
  if (candidate.headerBytes == 0) return index;
  chain.headerBytes = static_cast<uint16_t>(candidate.headerBytes);
  chain.payloadBytes = static_cast<uint16_t>(candidate.payloadBytes);
  chain.tcp = candidate.tcp;
  chain.ipv6 = candidate.ipv6;
  return index;
}

/// The flow's slot of this burst, or null.
Coalescer::Slot* Coalescer::findSlot(uint32_t tag) {
  const size_t last = slots_.size() - 1;
  for (uint32_t probe = 0; probe < MAX_PROBES; probe++) {
    Slot& slot = slots_[(tag + probe) & last];
    if (slot.generation != generation_) return nullptr;
    if (slot.tag == tag) return &slot;
  }
  return nullptr;
}

/// The flow's slot, taken if it has none. When the neighbourhood is full it takes the first slot from its owner, whose
/// chain ends by that. Flows whose hashes are equal share a slot in the same way: they break each other's chains, and
/// since a flow never has two open chains, neither loses its order.
Coalescer::Slot& Coalescer::claimSlot(uint32_t tag) {
  const size_t last = slots_.size() - 1;
  for (uint32_t probe = 0; probe < MAX_PROBES; probe++) {
    Slot& slot = slots_[(tag + probe) & last];
    if (slot.generation == generation_ && slot.tag == tag) return slot;
    if (slot.generation == generation_) continue;
    slot = {tag, NONE, generation_};
    return slot;
  }
  Slot& evicted = slots_[tag & last];
  evicted = {tag, NONE, generation_};
  return evicted;
}

uint32_t Coalescer::finish() {
  for (uint32_t index = 0; index < chainCount_; index++) {
    Chain& chain = chains_[index];
    CoalescedFrame& frame = chain.frame;
    if (frame.segments == 1) continue;
    patchHead(frame, chain.tcp, chain.ipv6, chain.push);
    frame.vnet.flags = VNET_NEEDS_CSUM;
    frame.vnet.gsoType = gsoTypeOf(chain.tcp, chain.ipv6);
    frame.vnet.headerBytes = chain.headerBytes;
    frame.vnet.gsoBytes = chain.payloadBytes;
    frame.vnet.csumStart = chain.ipv6 ? IPV6_BYTES : IPV4_MIN_BYTES;
    frame.vnet.csumOffset = chain.tcp ? TCP_CHECKSUM : UDP_CHECKSUM;
  }
  return chainCount_;
}

const CoalescedFrame& Coalescer::frame(uint32_t index) const { return chains_[index].frame; }

uint32_t Coalescer::gather(uint32_t index, iovec* out) const {
  const Chain& chain = chains_[index];
  const Datagram& head = datagrams_[chain.first];
  out[0] = {head.start, head.bytes};
  uint32_t pieces = 1;
  for (uint32_t i = head.next; i != NONE && pieces < MAX_SEGMENTS; i = datagrams_[i].next) {
    out[pieces++] = {datagrams_[i].start + chain.headerBytes, datagrams_[i].bytes - chain.headerBytes};
  }
  return pieces;
}

}  // namespace selvage
