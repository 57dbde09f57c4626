// The Internet checksum (RFC 1071) over bytes, with run-time dispatch. Pure: no system call, no Node.
#pragma once

#include <cstddef>
#include <cstdint>

namespace selvage {

/// One implementation of the sum, so that tests can hold each against the reference.
struct ChecksumKernel {
  const char* name;  // "avx2", "neon", "portable"
  bool (*available)();
  uint64_t (*sum)(const uint8_t* bytes, size_t count, uint64_t initial);
};

/// Every kernel compiled in, fastest first; the last one is portable and always available.
const ChecksumKernel* checksumKernels(size_t* count);

/// Ones' complement sum of `count` bytes taken as big-endian 16-bit words (an odd last byte is padded with zero on
/// its right), added to `initial`. Not folded, not complemented: feed it on, or give it to foldChecksum.
/// `bytes` needs no alignment. An odd `count` may only end a chain of sums. The result is one of the numbers equal to
/// that sum modulo 2^16 - 1, at most `initial` + 2^16, and 0 only when all bytes and `initial` are.
uint64_t checksumSum(const uint8_t* bytes, size_t count, uint64_t initial);

/// Folds a sum to 16 bits, not complemented, in host order: store it big-endian.
uint16_t foldChecksum(uint64_t sum);

/// Sum of the IPv4 or IPv6 pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
/// @param addresses source, then destination: `addressBytes` is 8 or 32
uint64_t pseudoHeaderSum(const uint8_t* addresses, size_t addressBytes, uint8_t protocol, uint32_t transportBytes);

}  // namespace selvage
