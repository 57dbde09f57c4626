// Cuts an IPv4 frame into fragments (RFC 791 section 3.2), as a gather list: headers are stamped into memory the caller
// gives, data stays where it is. Pure: no system call, no Node, no allocation.
#pragma once

#include <cstddef>
#include <cstdint>

namespace selvage {

constexpr uint32_t IPV4_MAX_HEADER_BYTES = 60;

/// What does not change from fragment to fragment. Filled by planFragments, read by stampFragment.
struct FragmentPlan {
  const uint8_t* firstHeader;  // in the frame
  uint32_t firstHeaderBytes;
  uint8_t laterHeader[IPV4_MAX_HEADER_BYTES];  // with the options only that have the copied flag
  uint32_t laterHeaderBytes;
  uint32_t dataBytes;       // of the frame, behind its header
  uint32_t firstDataBytes;  // a multiple of 8, as the next
  uint32_t laterDataBytes;  // the last fragment may carry less
  uint32_t fragments;
};

/// One fragment: the header that was stamped, and which part of the frame's data follows it.
struct Fragment {
  uint32_t headerBytes;
  uint32_t dataAt;  // bytes from the end of the frame's header
  uint32_t dataBytes;
};

/// Checks that the frame can be cut and fills `plan`, which holds a pointer to `start`.
/// A frame that is a fragment already is cut on: its pieces keep its offset, and the last one its more-fragments flag.
/// @param start the first bytes of the frame, in which its whole IPv4 header must lie
/// @param startBytes how many lie there together
/// @param frameBytes of the whole frame; more than `most`
/// @param most bytes of a fragment, its header included
/// @returns the number of fragments (2 or more); -EMSGSIZE when the frame may not be cut (IPv6, DF) or `most` does not
/// hold
///   its header and 8 bytes; -EINVAL when header and frame do not agree. `plan` is then unspecified.
int planFragments(const uint8_t* start, uint32_t startBytes, uint32_t frameBytes, uint32_t most, FragmentPlan* plan);

/// Writes the header of fragment `index`: total length, offset, more-fragments flag, checksum.
/// @param index 0 to plan.fragments - 1
/// @param header room for IPV4_MAX_HEADER_BYTES, outside the frame
Fragment stampFragment(const FragmentPlan& plan, uint32_t index, uint8_t* header);

}  // namespace selvage
