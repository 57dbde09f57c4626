// libFuzzer target: any burst of datagrams. The input is a program: its first byte gives the kinds, then each
// instruction adds a datagram, either of raw bytes or the next of a flow, perhaps damaged, so that joins are common.
// Whatever comes, every datagram appears once and in order, and superframes cut again are what they were made of.
#include <cstdio>
#include <cstdlib>

#include "../../test/native/burst.h"

using reference::Bytes;
using reference::Datagram;
using reference::Packet;

namespace {

constexpr size_t MAX_DATAGRAMS = 128;
constexpr size_t FLOWS = 4;

/// Reads the input; zeros after its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool done() const { return at_ == end_; }
  uint8_t byte() { return done() ? uint8_t{0} : *at_++; }
  Bytes bytes(size_t count) {
    Bytes out;
    while (out.size() < count) out.push_back(byte());
    return out;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

/// Instruction byte: which flow, and what becomes of its next packet.
enum Instruction : uint8_t {
  FLOW_MASK = 0x03,
  RAW = 0x04,            // a length, then that many bytes, instead of a packet
  DAMAGE_FIELDS = 0x08,  // a place and a value xored into the header, checksums made right after it
  DAMAGE_BYTES = 0x10,   // the same, checksums left wrong
  CUT = 0x20,            // only the first part of the packet
  LONG = 0x40,           // 64 times the payload
  OTHER_SOURCE = 0x80,
};

Packet firstPacket(size_t flow) {
  Packet packet;
  packet.ipv6 = (flow & 1) != 0;
  packet.tcp = (flow & 2) != 0;
  packet.dontFragment = false;
  packet.source[0] = 10;
  packet.destination[0] = 10;
  packet.sourcePort = 1000;
  packet.destinationPort = 2000;
  packet.sequence = 0xfffff000;
  return packet;
}

/// Puts damage into the header and rebuilds the packet from what it then reads as, if it reads as anything.
Bytes damageFields(Bytes bytes, size_t at, uint8_t value) {
  bytes[at % std::min(bytes.size(), size_t{80})] ^= value;
  const reference::Reading reading = reference::read(bytes);
  return reading.shape == reference::Shape::REGULAR ? reference::build(reading.packet) : bytes;
}

Datagram nextDatagram(Input& input, std::vector<Packet>& flows) {
  const uint8_t instruction = input.byte();
  const uint32_t source = (instruction & OTHER_SOURCE) != 0 ? 2 : 1;
  if ((instruction & RAW) != 0) return {input.bytes(input.byte()), source};
  Packet& packet = flows[instruction & FLOW_MASK];
  const uint8_t shape = input.byte();
  packet.payload.assign(size_t{shape} * ((instruction & LONG) != 0 ? 64 : 1), shape);
  packet.flags = shape % 7 == 0 ? reference::ACK | reference::PSH : reference::ACK;
  Bytes bytes = reference::build(packet);
  if ((instruction & DAMAGE_FIELDS) != 0) {
    const size_t at = input.byte();
    bytes = damageFields(bytes, at, input.byte());
  }
  if ((instruction & DAMAGE_BYTES) != 0) bytes[input.byte() % bytes.size()] ^= input.byte();
  if ((instruction & CUT) != 0) bytes.resize(input.byte() % (bytes.size() + 1));
  packet.sequence += static_cast<uint32_t>(packet.payload.size());
  if (!packet.ipv6) packet.identification++;
  return {bytes, source, static_cast<uint8_t>(shape % 11 == 10 ? 3 : 0)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  selvage::Coalescer coalescer(MAX_DATAGRAMS, input.byte() & 0x0fu);
  std::vector<Packet> flows;
  for (size_t i = 0; i < FLOWS; i++) flows.push_back(firstPacket(i));
  while (!input.done()) {  // several bursts with one coalescer
    std::vector<Datagram> list;
    while (!input.done() && list.size() < MAX_DATAGRAMS) list.push_back(nextDatagram(input, flows));
    const check::Outcome outcome = check::coalesce(coalescer, list);
    if (outcome.wrong.empty()) continue;
    std::fprintf(stderr, "invariant broken: %s\n", outcome.wrong.c_str());
    std::abort();
  }
  return 0;
}
