// libFuzzer target: any virtio-net header with any frame. Input: one byte of options, 10 bytes of virtio-net header,
// the frame. Whatever it is, nothing outside is touched; what is accepted is cut into sound packets without losing a
// byte.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../../test/reference/packet.h"
#include "../segment.h"

using namespace selvage;
using reference::Bytes;

namespace {

constexpr uint8_t OPTION_FIT = 1;  // make the virtio-net header fit the frame, to get past the first checks
constexpr uint32_t CHECKED_SEGMENTS = 200;

void must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "invariant broken: %s\n", what);
  std::abort();
}

void fit(VnetHeader& vnet, const Bytes& frame) {
  if (frame.size() < 40) return;
  const bool ipv6 = frame[0] >> 4 == 6;
  const bool tcp = frame[ipv6 ? 6 : 9] == 6;
  vnet.flags = VNET_NEEDS_CSUM;
  vnet.gsoType = tcp ? (ipv6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4) : VNET_GSO_UDP_L4;
  vnet.csumStart = static_cast<uint16_t>(ipv6 ? 40 : (frame[0] & 0x0f) * 4);
  vnet.csumOffset = tcp ? 16 : 6;
}

/// Lengths and checksums of one segment, by the reference sum. The pseudo-header is spelled out from the header.
void isSound(const SegmentPlan& plan, const Bytes& segment) {
  const bool ipv6 = segment[0] >> 4 == 6;
  must(ipv6 == plan.ipv6, "the IP version is kept");
  must(reference::get16(segment, ipv6 ? 4 : 2) + (ipv6 ? 40u : 0u) == segment.size(), "the IP length is right");
  must(ipv6 || reference::checksum(segment.data(), plan.ipHeaderBytes) == 0xffff, "the IPv4 checksum is right");
  const size_t transportBytes = segment.size() - plan.ipHeaderBytes;
  must(plan.tcp || reference::get16(segment, plan.ipHeaderBytes + 4) == transportBytes, "the UDP length is right");
  Bytes pseudo(segment.begin() + (ipv6 ? 8 : 12), segment.begin() + (ipv6 ? 40 : 20));
  reference::put32(pseudo, static_cast<uint32_t>(transportBytes));
  reference::put32(pseudo, plan.tcp ? 6 : 17);
  const uint16_t initial = reference::checksum(pseudo.data(), pseudo.size());
  const uint16_t sum = reference::checksum(segment.data() + plan.ipHeaderBytes, transportBytes, initial);
  must(sum == 0xffff, "the transport checksum is right");
}

void cut(const VnetHeader& vnet, const Bytes& frame) {
  SegmentPlan plan;
  const int segments = planSegments(vnet, frame.data(), static_cast<uint32_t>(frame.size()), &plan);
  if (segments < 0) return;
  must(segments > 0 && static_cast<uint32_t>(segments) == plan.segments, "a plan has segments");
  must(plan.headerBytes <= MAX_HEADER_BYTES && plan.headerBytes <= frame.size(), "headers fit");
  size_t at = plan.headerBytes;
  for (uint32_t i = 0; i < plan.segments; i++) {
    Bytes segment(plan.headerBytes);
    const uint8_t* payload = nullptr;
    const uint32_t bytes = stampSegment(plan, i, segment.data(), &payload);
    must(payload == frame.data() + at, "payloads follow on");
    at += bytes;
    must(at <= frame.size() && bytes <= plan.payloadBytes, "payloads lie in the frame");
    if (i >= CHECKED_SEGMENTS) continue;
    segment.insert(segment.end(), payload, payload + bytes);
    isSound(plan, segment);
  }
  must(at == frame.size(), "no byte is lost");
}

void complete(const VnetHeader& vnet, const Bytes& original) {
  Bytes frame = original;
  const int result = finishChecksum(vnet, frame.data(), static_cast<uint32_t>(frame.size()));
  if (result != 0 || (vnet.flags & VNET_NEEDS_CSUM) == 0) {
    must(frame == original, "nothing is written without need");
    return;
  }
  const size_t field = size_t{vnet.csumStart} + vnet.csumOffset;
  must(field + 2 <= frame.size(), "the field lies in the frame");
  const unsigned before = reference::get16(original, field);
  if (vnet.csumOffset % 2 == 0) {
    const size_t covered = frame.size() - vnet.csumStart;
    must(reference::checksum(frame.data() + vnet.csumStart, covered, before) == 0xffff, "the checksum is right");
  }
  reference::set16(frame, field, before);
  must(frame == original, "only the field is written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 + sizeof(VnetHeader)) return 0;
  VnetHeader vnet;
  std::memcpy(&vnet, data + 1, sizeof(vnet));
  const Bytes frame(data + 1 + sizeof(vnet), data + size);  // an allocation of exactly its size
  if ((data[0] & OPTION_FIT) != 0) fit(vnet, frame);
  cut(vnet, frame);
  complete(vnet, frame);
  return 0;
}
