// The Internet checksum as RFC 1071 section 4.1 writes it down: one 16-bit word at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace reference {

/// Folded sum of big-endian words, not complemented; an odd last byte is padded with zero on its right.
inline uint16_t checksum(const uint8_t* bytes, size_t count, uint64_t initial = 0) {
  uint64_t sum = initial;
  for (size_t at = 0; at + 1 < count; at += 2) sum += static_cast<uint64_t>(bytes[at]) << 8 | bytes[at + 1];
  if (count % 2 == 1) sum += static_cast<uint64_t>(bytes[count - 1]) << 8;
  while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>(sum);
}

}  // namespace reference
