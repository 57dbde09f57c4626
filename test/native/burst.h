// Runs a list of datagrams through the coalescer as a burst, and puts its frames together again for comparison.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../../native/coalesce.h"
#include "../reference/coalesce.h"

namespace check {

struct Outcome {
  std::vector<reference::Made> made;
  std::string wrong;  // the first thing that does not agree with the contract in coalesce.h; empty is good
};

/// Copies of the datagrams, each in an allocation of exactly its size so that AddressSanitizer sees its ends.
class Placement {
 public:
  explicit Placement(const std::vector<reference::Datagram>& list) {
    for (size_t i = 0; i < list.size(); i++) {
      const reference::Bytes& bytes = list[i].bytes;
      copies_.emplace_back(new uint8_t[bytes.size()]);
      if (!bytes.empty()) std::memcpy(copies_[i].get(), bytes.data(), bytes.size());
      indices_[copies_[i].get()] = i;
    }
  }
  uint8_t* at(size_t i) const { return copies_[i].get(); }
  /// Which datagram an address lies in, or starts.
  size_t indexOf(const void* address) const {
    auto after = indices_.upper_bound(static_cast<const uint8_t*>(address));
    return after == indices_.begin() ? copies_.size() : std::prev(after)->second;
  }

 private:
  std::vector<std::unique_ptr<uint8_t[]>> copies_;
  std::map<const uint8_t*, size_t> indices_;
};

inline bool sameVnet(const selvage::VnetHeader& a, const selvage::VnetHeader& b) {
  return a.flags == b.flags && a.gsoType == b.gsoType && a.headerBytes == b.headerBytes && a.gsoBytes == b.gsoBytes &&
         a.csumStart == b.csumStart && a.csumOffset == b.csumOffset;
}

/// The virtio-net header of a superframe that begins with this packet.
inline selvage::VnetHeader superframeVnet(const reference::Packet& first) {
  const uint8_t tcpType = first.ipv6 ? selvage::VNET_GSO_TCPV6 : selvage::VNET_GSO_TCPV4;
  return {selvage::VNET_NEEDS_CSUM,
          first.tcp ? tcpType : selvage::VNET_GSO_UDP_L4,
          static_cast<uint16_t>(reference::headerBytes(first)),
          static_cast<uint16_t>(first.payload.size()),
          static_cast<uint16_t>(reference::ipHeaderBytes(first)),
          static_cast<uint16_t>(first.tcp ? 16 : 6)};
}

/// Is what frame() says true of what gather() gives?
inline std::string disagreement(const selvage::CoalescedFrame& frame, const reference::Made& made,
                                const reference::Datagram& first, const uint8_t* head) {
  if (frame.head != head) return "head is not the first datagram";
  if (frame.bytes != made.bytes.size()) return "bytes is not what gather gives";
  if (frame.segments != made.datagrams.size()) return "segments is not what gather gives";
  if (frame.wireBytes != first.bytes.size()) return "wireBytes is not the first datagram's";
  if (frame.source != first.source) return "source is not the first datagram's";
  if (frame.outerClass != first.outerClass) return "outer class is not the first datagram's";
  if (frame.segments > selvage::Coalescer::MAX_SEGMENTS) return "too many segments";
  if (frame.segments > 1 && frame.bytes > selvage::Coalescer::MAX_FRAME_BYTES) return "too many bytes";
  const selvage::VnetHeader expected =
      frame.segments == 1 ? selvage::VnetHeader{} : superframeVnet(reference::read(first.bytes).packet);
  return sameVnet(frame.vnet, expected) ? "" : "the virtio-net header is wrong";
}

/// One burst. `coalescer` may have seen bursts before.
inline Outcome coalesce(selvage::Coalescer& coalescer, const std::vector<reference::Datagram>& list) {
  const Placement placed(list);
  Outcome outcome;
  coalescer.begin();
  for (size_t i = 0; i < list.size(); i++) {
    if (coalescer.add(placed.at(i), static_cast<uint32_t>(list[i].bytes.size()), list[i].source, list[i].outerClass))
      continue;
    outcome.wrong = "a datagram was not taken";
    return outcome;
  }
  const uint32_t frames = coalescer.finish();
  for (uint32_t index = 0; index < frames; index++) {
    std::vector<iovec> pieces(selvage::Coalescer::MAX_SEGMENTS);
    pieces.resize(coalescer.gather(index, pieces.data()));
    reference::Made made;
    for (const iovec& piece : pieces) {
      const uint8_t* bytes = static_cast<const uint8_t*>(piece.iov_base);
      made.datagrams.push_back(placed.indexOf(bytes));
      made.bytes.insert(made.bytes.end(), bytes, bytes + piece.iov_len);
    }
    const selvage::CoalescedFrame& frame = coalescer.frame(index);
    made.gsoBytes = frame.vnet.gsoBytes;
    const size_t first = made.datagrams[0];
    if (outcome.wrong.empty()) outcome.wrong = disagreement(frame, made, list[first], placed.at(first));
    outcome.made.push_back(std::move(made));
  }
  if (outcome.wrong.empty()) outcome.wrong = reference::violation(list, outcome.made);
  return outcome;
}

}  // namespace check
