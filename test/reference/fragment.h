// Puts IPv4 fragments together again, byte by byte, as RFC 791 section 3.2 draws it.
#pragma once

#include <string>
#include <vector>

#include "packet.h"

namespace reference {

/// The options of a header, each with its length byte; what follows an end-of-option is not read.
inline std::vector<Bytes> options(const Bytes& packet) {
  std::vector<Bytes> out;
  const size_t end = static_cast<size_t>(packet[0] & 0x0f) * 4;
  for (size_t at = 20; at < end && packet[at] != 0;) {
    const size_t bytes = packet[at] == 1 ? 1 : packet[at + 1];
    const auto from = packet.begin() + static_cast<std::ptrdiff_t>(at);
    out.emplace_back(from, from + static_cast<std::ptrdiff_t>(bytes));
    at += bytes;
  }
  return out;
}

inline std::vector<Bytes> copiedOptions(const Bytes& packet) {
  std::vector<Bytes> out;
  for (const Bytes& option : options(packet)) {
    if ((option[0] & 0x80) != 0) out.push_back(option);
  }
  return out;
}

/// The datagram, or part of a datagram, that the fragments are pieces of: first header, then all data. `wrong` receives
/// the first thing that is not as it must be.
inline Bytes reassemble(const std::vector<Bytes>& fragments, size_t most, std::string& wrong) {
  if (fragments.empty()) {
    wrong = "no fragments";
    return {};
  }
  const Bytes& first = fragments[0];
  const std::vector<Bytes> copied = copiedOptions(first);
  const unsigned origin = get16(first, 6) & 0x1fff;
  Bytes whole(first.begin(), first.begin() + (first[0] & 0x0f) * 4);
  const size_t header = whole.size();
  for (size_t i = 0; i < fragments.size(); i++) {
    const Bytes& fragment = fragments[i];
    const size_t headerBytes = static_cast<size_t>(fragment[0] & 0x0f) * 4;
    const size_t data = fragment.size() - headerBytes;
    const bool last = i + 1 == fragments.size();
    if (fragment.size() > most) wrong = "a fragment is too large";
    if (data == 0) wrong = "a fragment is empty";
    if (get16(fragment, 2) != fragment.size()) wrong = "total length";
    if (checksum(fragment.data(), headerBytes) != 0xffff) wrong = "header checksum";
    if ((get16(fragment, 6) & 0x1fff) != origin + (whole.size() - header) / 8) wrong = "offset";
    if (!last && data % 8 != 0) wrong = "a fragment before the last is no multiple of 8";
    if (!last && data + 8 + headerBytes <= most) wrong = "a fragment before the last is not as large as it can be";
    if (!last && (get16(fragment, 6) & 0x2000) == 0) wrong = "more-fragments flag missing";
    if (i > 0 && options(fragment) != copied) wrong = "the options are not the copied ones";
    for (size_t at : {1u, 4u, 5u, 8u, 9u, 12u, 13u, 14u, 15u, 16u, 17u, 18u, 19u}) {
      if (fragment[at] != first[at]) wrong = "a field that all fragments share differs";
    }
    whole.insert(whole.end(), fragment.begin() + static_cast<std::ptrdiff_t>(headerBytes), fragment.end());
  }
  set16(whole, 2, static_cast<unsigned>(whole.size()));
  set16(whole, 6, (get16(fragments.back(), 6) & 0xe000) | origin);
  set16(whole, 10, 0);
  set16(whole, 10, 0xffffu - checksum(whole.data(), header));
  return whole;
}

}  // namespace reference
