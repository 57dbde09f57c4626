// The columns of a burst, as TypeScript shares them (src/tun/burst.ts). Memory is owned by TypeScript.
#pragma once

#include <cstddef>
#include <cstdint>

namespace selvage {

/// Words of an address in a column or an endpoint (src/ip_address.ts).
constexpr uint32_t ADDRESS_WORDS = 4;

/// Values of the column `cut` that are no sizes; src/tun/burst.ts has the same numbers.
constexpr int32_t CUT_NONE = 0;
constexpr int32_t CUT_OUTER = -1;

struct Burst {
  uint8_t* slab = nullptr;
  size_t slabBytes = 0;
  uint32_t rows = 0;  // capacity of each column
  int32_t* offset = nullptr;
  int32_t* length = nullptr;
  int32_t* segments = nullptr;
  int32_t* wireBytes = nullptr;
  int32_t* source = nullptr;  // ADDRESS_WORDS words a row
  int32_t* outerClass = nullptr;
  int32_t* cut = nullptr;
  int32_t* fate = nullptr;
  int32_t* lost = nullptr;
  int32_t* lostErrno = nullptr;

  /// Whether row `i`'s frame, with `headroom` bytes before it, lies inside the slab. Columns come from TypeScript and
  /// are never trusted.
  bool rowIsInside(uint32_t i, uint32_t headroom) const {
    const int64_t at = offset[i];
    const int64_t bytes = length[i];
    return at >= headroom && bytes >= 0 && at + bytes <= static_cast<int64_t>(slabBytes);
  }

  void clearLoss(uint32_t i) const { lost[i] = 0; }

  void addLoss(uint32_t i, int32_t frames, int errorNumber) const {
    if (lost[i] == 0) lostErrno[i] = errorNumber;
    lost[i] += frames;
  }
};

}  // namespace selvage
