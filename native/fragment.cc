#include "fragment.h"

#include <cerrno>
#include <cstring>

#include "checksum.h"
#include "inet.h"

namespace selvage {
namespace {

constexpr uint32_t UNIT_BYTES = 8;  // of a fragment offset

/// Copies the options that every fragment carries (RFC 791 section 3.1, copied flag), ended and padded with zeros.
/// @returns bytes written, a multiple of 4, or -EINVAL when an option's length lies
int copyOptions(const uint8_t* options, uint32_t bytes, uint8_t* out) {
  uint32_t copied = 0;
  for (uint32_t at = 0; at < bytes && options[at] != IPV4_OPTION_END;) {
    uint32_t optionBytes = 1;
    if (options[at] != IPV4_OPTION_NO_OPERATION) {
      if (at + 1 == bytes) return -EINVAL;
      optionBytes = options[at + 1];
      if (optionBytes < 2 || at + optionBytes > bytes) return -EINVAL;
    }
    if ((options[at] & IPV4_OPTION_COPIED) != 0) {
      std::memcpy(out + copied, options + at, optionBytes);
      copied += optionBytes;
    }
    at += optionBytes;
  }
  while (copied % 4 != 0) out[copied++] = IPV4_OPTION_END;  // stays inside: `bytes` is a multiple of 4
  return static_cast<int>(copied);
}

}  // namespace

int planFragments(const uint8_t* start, uint32_t startBytes, uint32_t frameBytes, uint32_t most, FragmentPlan* plan) {
  if (startBytes < IPV4_MIN_BYTES) return -EINVAL;
  if (start[0] >> 4 != 4) return -EMSGSIZE;
  const uint32_t headerBytes = (start[0] & 0x0fu) * 4;
  if (headerBytes < IPV4_MIN_BYTES || headerBytes > startBytes) return -EINVAL;
  if (load16(start + IPV4_TOTAL_LENGTH) != frameBytes || frameBytes <= most) return -EINVAL;
  const uint32_t field = load16(start + IPV4_FRAGMENT);
  if ((field & IPV4_DONT_FRAGMENT) != 0 || most < headerBytes + UNIT_BYTES) return -EMSGSIZE;
  const uint32_t dataBytes = frameBytes - headerBytes;
  // Past the last offset that can be said: the datagram this frame is part of would be longer than IP can carry.
  if ((field & IPV4_FRAGMENT_OFFSET) + (dataBytes - 1) / UNIT_BYTES > IPV4_FRAGMENT_OFFSET) return -EINVAL;

  std::memcpy(plan->laterHeader, start, IPV4_MIN_BYTES);
  const int options =
      copyOptions(start + IPV4_MIN_BYTES, headerBytes - IPV4_MIN_BYTES, plan->laterHeader + IPV4_MIN_BYTES);
  if (options < 0) return options;
  plan->firstHeader = start;
  plan->firstHeaderBytes = headerBytes;
  plan->laterHeaderBytes = IPV4_MIN_BYTES + static_cast<uint32_t>(options);
  plan->laterHeader[0] = static_cast<uint8_t>(0x40 | plan->laterHeaderBytes / 4);
  plan->dataBytes = dataBytes;
  plan->firstDataBytes = (most - headerBytes) / UNIT_BYTES * UNIT_BYTES;
  plan->laterDataBytes = (most - plan->laterHeaderBytes) / UNIT_BYTES * UNIT_BYTES;
  const uint32_t left = dataBytes - plan->firstDataBytes;
  plan->fragments = 1 + (left + plan->laterDataBytes - 1) / plan->laterDataBytes;
  return static_cast<int>(plan->fragments);
}

Fragment stampFragment(const FragmentPlan& plan, uint32_t index, uint8_t* header) {
  const bool first = index == 0;
  const bool last = index + 1 == plan.fragments;
  const uint32_t headerBytes = first ? plan.firstHeaderBytes : plan.laterHeaderBytes;
  const uint32_t dataAt = first ? 0 : plan.firstDataBytes + (index - 1) * plan.laterDataBytes;
  const uint32_t dataBytes = last ? plan.dataBytes - dataAt : (first ? plan.firstDataBytes : plan.laterDataBytes);
  std::memcpy(header, first ? plan.firstHeader : plan.laterHeader, headerBytes);
  const uint32_t field = load16(header + IPV4_FRAGMENT) + dataAt / UNIT_BYTES;
  store16(header + IPV4_TOTAL_LENGTH, headerBytes + dataBytes);
  store16(header + IPV4_FRAGMENT, last ? field : field | IPV4_MORE_FRAGMENTS);
  store16(header + IPV4_CHECKSUM, 0);
  store16(header + IPV4_CHECKSUM, ~uint32_t{foldChecksum(checksumSum(header, headerBytes, 0))});
  return {headerBytes, dataAt, dataBytes};
}

}  // namespace selvage
