// A segmenter that builds each packet anew from its fields.
#pragma once

#include <algorithm>

#include "packet.h"

namespace reference {

/// The packets that a superframe stands for.
inline std::vector<Bytes> segment(const Packet& superframe, size_t gsoBytes) {
  std::vector<Bytes> out;
  const size_t total = superframe.payload.size();
  size_t at = 0;
  do {
    const size_t end = std::min(at + gsoBytes, total);
    const bool first = at == 0;
    const bool last = end == total;
    Packet packet = superframe;
    packet.payload.assign(superframe.payload.begin() + static_cast<std::ptrdiff_t>(at),
                          superframe.payload.begin() + static_cast<std::ptrdiff_t>(end));
    packet.identification = static_cast<uint16_t>(superframe.identification + out.size());
    packet.sequence = static_cast<uint32_t>(superframe.sequence + at);
    if (!first) packet.flags = static_cast<uint8_t>(packet.flags & ~CWR);
    if (!last) packet.flags = static_cast<uint8_t>(packet.flags & ~(FIN | PSH));
    out.push_back(build(packet));
    at = end;
  } while (at < total);
  return out;
}

}  // namespace reference
