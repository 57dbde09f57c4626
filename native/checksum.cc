#include "checksum.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "inet.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace selvage {
namespace {

// All kernels sum the words in host order and swap the folded result once: the ones' complement sum does not depend
// on byte order (RFC 1071 section 2 (B)). The loads below place a short tail in the low bytes, so the host is
// little-endian.
static_assert(std::endian::native == std::endian::little);

using SumFunction = uint64_t (*)(const uint8_t*, size_t, uint64_t);

/// a + b with the carry added back in: 2^64 is 1 modulo 2^16 - 1.
inline uint64_t addEndAround(uint64_t a, uint64_t b) {
  uint64_t sum;
  const bool carry = __builtin_add_overflow(a, b, &sum);
  return sum + (carry ? 1 : 0);
}

/// 0 to 7 bytes as the low bytes of a little-endian value. The loads overlap instead of looping over bytes.
inline uint64_t loadShort(const uint8_t* bytes, size_t count) {
  if (count >= 4) {
    const uint64_t high = rawLoad32(bytes + count - 4);
    return rawLoad32(bytes) | high << (8 * (count - 4));
  }
  if (count == 0) return 0;
  const size_t middle = count / 2;
  const size_t last = count - 1;
  return bytes[0] | static_cast<uint64_t>(bytes[middle]) << (8 * middle) |
         static_cast<uint64_t>(bytes[last]) << (8 * last);
}

/// Host-order sum of a short piece, by 64-bit words.
inline uint64_t sumWords(const uint8_t* bytes, size_t count, uint64_t sum) {
  for (; count >= 8; bytes += 8, count -= 8) sum = addEndAround(sum, rawLoad64(bytes));
  return addEndAround(sum, loadShort(bytes, count));
}

/// From a host-order sum to a big-endian one. Zero stays zero, and no other sum becomes zero.
inline uint64_t toNetworkOrder(uint64_t hostSum) { return __builtin_bswap16(foldChecksum(hostSum)); }

uint64_t sumPortable(const uint8_t* bytes, size_t count, uint64_t initial) {
  uint64_t even = 0;  // two sums, since each addition waits for the carry of the one before
  uint64_t odd = 0;
  for (; count >= 32; bytes += 32, count -= 32) {
    even = addEndAround(even, rawLoad64(bytes));
    odd = addEndAround(odd, rawLoad64(bytes + 8));
    even = addEndAround(even, rawLoad64(bytes + 16));
    odd = addEndAround(odd, rawLoad64(bytes + 24));
  }
  return initial + toNetworkOrder(sumWords(bytes, count, addEndAround(even, odd)));
}

bool always() { return true; }

#if defined(__x86_64__)

bool hasAvx2() { return __builtin_cpu_supports("avx2") != 0; }

// Adding two words of each 32-bit lane in one step takes vpmaddwd, which reads signed words. Flipping the top bit makes
// an unsigned word a signed one that is 32768 less; what was taken away is added back once at the end.
constexpr int64_t WORD_BIAS = 32768;
constexpr size_t AVX2_STEP_BYTES = 128;
// A lane gains at most 2^16 in magnitude per vector. 4 sums of 8000 steps, and 3 vectors more, stay below 2^31.
constexpr size_t AVX2_BLOCK_STEPS = 8000;

__attribute__((target("avx2"))) inline __m256i biasedPairs(const uint8_t* bytes) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  const __m256i flipped = _mm256_xor_si256(words, _mm256_set1_epi16(-32768));
  return _mm256_madd_epi16(flipped, _mm256_set1_epi16(1));
}

__attribute__((target("avx2"))) inline int64_t sumLanes(__m256i lanes) {
  const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes));
  const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(lanes, 1));
  const __m256i four = _mm256_add_epi64(low, high);
  const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
  return _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1);
}

/// Host-order sum of `steps` times 128 bytes and `vectors` (0 to 3) times 32 bytes.
__attribute__((target("avx2"))) inline uint64_t sumBlock(const uint8_t* bytes, size_t steps, size_t vectors) {
  const int64_t words = static_cast<int64_t>(steps * AVX2_STEP_BYTES + vectors * 32) / 2;
  __m256i a = _mm256_setzero_si256();
  __m256i b = a;
  __m256i c = a;
  __m256i d = a;
  for (; steps > 0; steps--, bytes += AVX2_STEP_BYTES) {
    a = _mm256_add_epi32(a, biasedPairs(bytes));
    b = _mm256_add_epi32(b, biasedPairs(bytes + 32));
    c = _mm256_add_epi32(c, biasedPairs(bytes + 64));
    d = _mm256_add_epi32(d, biasedPairs(bytes + 96));
  }
  for (; vectors > 0; vectors--, bytes += 32) a = _mm256_add_epi32(a, biasedPairs(bytes));
  const __m256i lanes = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
  return static_cast<uint64_t>(sumLanes(lanes) + words * WORD_BIAS);
}

__attribute__((target("avx2"))) uint64_t sumAvx2(const uint8_t* bytes, size_t count, uint64_t initial) {
  uint64_t sum = 0;
  while (count >= 32) {
    const size_t steps = std::min(count / AVX2_STEP_BYTES, AVX2_BLOCK_STEPS);
    const size_t vectors = std::min((count - steps * AVX2_STEP_BYTES) / 32, size_t{3});
    const size_t block = steps * AVX2_STEP_BYTES + vectors * 32;
    sum += sumBlock(bytes, steps, vectors);
    bytes += block;
    count -= block;
  }
  return initial + toNetworkOrder(sumWords(bytes, count, sum));
}

constexpr ChecksumKernel KERNELS[] = {{"avx2", hasAvx2, sumAvx2}, {"portable", always, sumPortable}};

#elif defined(__aarch64__)

// A lane gains at most 2 * 65535 per vector, so that 16384 vectors in each of two sums stay below 2^32.
constexpr size_t NEON_STEP_BYTES = 32;
constexpr size_t NEON_BLOCK_STEPS = 16384;

uint64_t sumNeon(const uint8_t* bytes, size_t count, uint64_t initial) {
  uint64_t sum = 0;
  while (count >= NEON_STEP_BYTES) {
    size_t steps = std::min(count / NEON_STEP_BYTES, NEON_BLOCK_STEPS);
    count -= steps * NEON_STEP_BYTES;
    uint32x4_t even = vdupq_n_u32(0);
    uint32x4_t odd = vdupq_n_u32(0);
    for (; steps > 0; steps--, bytes += NEON_STEP_BYTES) {
      even = vpadalq_u16(even, vreinterpretq_u16_u8(vld1q_u8(bytes)));
      odd = vpadalq_u16(odd, vreinterpretq_u16_u8(vld1q_u8(bytes + 16)));
    }
    sum += vaddlvq_u32(even) + vaddlvq_u32(odd);
  }
  return initial + toNetworkOrder(sumWords(bytes, count, sum));
}

constexpr ChecksumKernel KERNELS[] = {{"neon", always, sumNeon}, {"portable", always, sumPortable}};

#else

constexpr ChecksumKernel KERNELS[] = {{"portable", always, sumPortable}};

#endif

uint64_t chooseAndSum(const uint8_t* bytes, size_t count, uint64_t initial);

/// The kernel in use. It starts as the function that chooses, so that no caller waits on a static initialiser; two
/// threads that choose at once store the same answer.
std::atomic<SumFunction> sumFunction{chooseAndSum};

uint64_t chooseAndSum(const uint8_t* bytes, size_t count, uint64_t initial) {
  const ChecksumKernel* kernel = KERNELS;
  while (!kernel->available()) kernel++;  // ends: the last one is portable
  sumFunction.store(kernel->sum, std::memory_order_relaxed);
  return kernel->sum(bytes, count, initial);
}

/// Below this the vector kernels' set-up and reduction cost more than they save: 64 bytes take 4.2 ns with AVX2 and
/// 3.1 ns without, 256 bytes 5.5 and 8.5 (EPYC 9005).
constexpr size_t SHORT_BYTES = 128;

}  // namespace

const ChecksumKernel* checksumKernels(size_t* count) {
  *count = sizeof(KERNELS) / sizeof(KERNELS[0]);
  return KERNELS;
}

uint64_t checksumSum(const uint8_t* bytes, size_t count, uint64_t initial) {
  if (count < SHORT_BYTES) return sumPortable(bytes, count, initial);
  return sumFunction.load(std::memory_order_relaxed)(bytes, count, initial);
}

uint16_t foldChecksum(uint64_t sum) {
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>(sum);
}

uint64_t pseudoHeaderSum(const uint8_t* addresses, size_t addressBytes, uint8_t protocol, uint32_t transportBytes) {
  // The length needs no split into words: 2^16 is 1 modulo 2^16 - 1.
  return checksumSum(addresses, addressBytes, uint64_t{protocol} + transportBytes);
}

}  // namespace selvage
