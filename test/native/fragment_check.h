// What the fragment tests share: frames to cut, and the cutting.
#pragma once

#include <vector>

#include "../../native/fragment.h"
#include "../reference/fragment.h"
#include "random.h"

namespace check {

/// All fragments of a planned frame. Each header lies in an allocation of exactly the room that is asked for.
inline std::vector<reference::Bytes> fragmentsOf(const selvage::FragmentPlan& plan, const reference::Bytes& frame) {
  std::vector<reference::Bytes> out;
  for (uint32_t i = 0; i < plan.fragments; i++) {
    reference::Bytes one(selvage::IPV4_MAX_HEADER_BYTES);
    const selvage::Fragment fragment = selvage::stampFragment(plan, i, one.data());
    one.resize(fragment.headerBytes);
    const auto from = frame.begin() + static_cast<std::ptrdiff_t>(plan.firstHeaderBytes + fragment.dataAt);
    one.insert(one.end(), from, from + static_cast<std::ptrdiff_t>(fragment.dataBytes));
    out.push_back(std::move(one));
  }
  return out;
}

/// Only the header is given as the frame's start, in an allocation of its own.
inline int planFragments(const reference::Bytes& start, size_t frameBytes, size_t most, selvage::FragmentPlan* plan) {
  return selvage::planFragments(start.data(), static_cast<uint32_t>(start.size()), static_cast<uint32_t>(frameBytes),
                                static_cast<uint32_t>(most), plan);
}

/// Options with and without the copied flag, no-operations between them, perhaps an end; a multiple of 4 bytes.
inline reference::Bytes randomOptions(Random& random) {
  reference::Bytes out;
  while (!random.oneIn(4)) {
    const uint8_t type = random.oneIn(3) ? uint8_t{1} : static_cast<uint8_t>(random.byte() | 2);
    const size_t bytes = type == 1 ? 1 : random.between(2, 11);
    if (out.size() + bytes > 40) break;
    out.push_back(type);
    if (type == 1) continue;
    out.push_back(static_cast<uint8_t>(bytes));
    reference::append(out, random.bytes(bytes - 2));
  }
  while (out.size() % 4 != 0) out.push_back(0);
  return out;
}

/// An IPv4 packet that may be cut.
inline reference::Bytes randomCuttable(Random& random, size_t leastData, size_t mostData) {
  reference::Packet packet = randomPacket(random, false, false);
  packet.dontFragment = false;
  packet.ipOptions = randomOptions(random);
  packet.payload = random.bytes(random.between(leastData, mostData));
  return reference::build(packet);
}

}  // namespace check
