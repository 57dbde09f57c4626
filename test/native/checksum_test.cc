// checksum.cc against RFC 1071, one word at a time.
#include "../../native/checksum.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "../reference/checksum.h"
#include "check.h"
#include "random.h"

using namespace selvage;
using check::rule;
using reference::Bytes;

namespace {

/// A copy that ends where its allocation ends and starts `alignment` bytes after a multiple of 16, so that
/// AddressSanitizer sees a read of one byte too many.
class Placed {
 public:
  Placed(const uint8_t* bytes, size_t count, size_t alignment)
      : memory_(new uint8_t[alignment + count]), start_(memory_.get() + alignment) {
    if (count > 0) std::memcpy(start_, bytes, count);
  }
  const uint8_t* start() const { return start_; }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  uint8_t* start_;
};

std::string caseName(const char* kernel, size_t count, size_t alignment) {
  return std::string(kernel) + ", " + std::to_string(count) + " bytes, alignment " + std::to_string(alignment);
}

void everyLengthAndAlignment(const ChecksumKernel& kernel, check::Random& random) {
  const Bytes pool = random.bytes(9001);
  const size_t stride = check::environmentNumber("TEST_SCALE", 100) >= 100 ? 1 : 97;
  for (size_t count = 0; count <= 9001; count += count < 300 ? 1 : stride) {
    const uint16_t expected = reference::checksum(pool.data(), count);
    for (size_t alignment = 0; alignment < 16; alignment++) {
      const Placed placed(pool.data(), count, alignment);
      CHECK_CASE(foldChecksum(kernel.sum(placed.start(), count, 0)) == expected,
                 caseName(kernel.name, count, alignment));
    }
  }
}

/// Values at the ends of every signed and unsigned range, over lengths past the kernels' block limits.
void extremes(const ChecksumKernel& kernel) {
  for (const unsigned pattern : {0x0000u, 0xffffu, 0x8000u, 0x0080u, 0x7fffu, 0xff7fu, 0x0001u, 0x00ffu, 0xff00u}) {
    for (const size_t count : {1432u, 65535u, 1024u * 1024u + 33u, 3u * 1024u * 1024u + 127u}) {
      Bytes bytes(count);
      for (size_t i = 0; i < count; i++) bytes[i] = static_cast<uint8_t>(i % 2 == 0 ? pattern >> 8 : pattern);
      CHECK_CASE(foldChecksum(kernel.sum(bytes.data(), count, 0)) == reference::checksum(bytes.data(), count),
                 caseName(kernel.name, count, 0) + ", pattern " + std::to_string(pattern));
    }
  }
}

void chained(const ChecksumKernel& kernel, check::Random& random) {
  for (size_t i = 0; i < check::scaled(20000); i++) {
    const Bytes bytes = random.bytes(random.below(400));
    const size_t cut = random.below(bytes.size() / 2 + 1) * 2;
    const uint64_t initial = random.next() >> random.between(8, 63);
    const uint64_t first = kernel.sum(bytes.data(), cut, initial);
    const uint64_t whole = kernel.sum(bytes.data() + cut, bytes.size() - cut, first);
    CHECK(foldChecksum(whole) == reference::checksum(bytes.data(), bytes.size(), initial));
  }
}

void zeroOnlyForZero(const ChecksumKernel& kernel) {
  Bytes bytes(600);
  for (size_t count = 0; count <= bytes.size(); count++) CHECK(kernel.sum(bytes.data(), count, 0) == 0);
  for (size_t at = 0; at < bytes.size(); at++) {
    bytes[at] = 1;
    CHECK(foldChecksum(kernel.sum(bytes.data(), bytes.size(), 0)) == (at % 2 == 0 ? 0x0100 : 0x0001));
    bytes[at] = 0;
  }
  const Bytes ones(600, 0xff);
  CHECK(foldChecksum(kernel.sum(ones.data(), ones.size(), 0)) == 0xffff);
}

void kernelRules(const ChecksumKernel& kernel, check::Random& random) {
  const std::string name = kernel.name;
  if (!kernel.available()) {
    std::printf("# this CPU does not have %s\n", kernel.name);
    return;
  }
  rule(name + ": every length 0-9001 at every alignment 0-15 equals the naive sum",
       [&] { everyLengthAndAlignment(kernel, random); });
  rule(name + ": extreme words over lengths past the block limits equal the naive sum", [&] { extremes(kernel); });
  rule(name + ": a sum may be continued after an even piece", [&] { chained(kernel, random); });
  rule(name + ": only zero bytes sum to zero", [&] { zeroOnlyForZero(kernel); });
}

void dispatched(check::Random& random) {
  for (size_t i = 0; i < check::scaled(20000); i++) {
    const Bytes bytes = random.bytes(random.oneIn(10) ? random.below(9002) : random.below(300));
    const uint64_t initial = random.dword();
    const Placed placed(bytes.data(), bytes.size(), random.below(16));
    const uint64_t sum = checksumSum(placed.start(), bytes.size(), initial);
    CHECK(foldChecksum(sum) == reference::checksum(bytes.data(), bytes.size(), initial));
    CHECK(sum <= initial + 0x10000);
  }
}

void pseudoHeaders(check::Random& random) {
  for (size_t i = 0; i < check::scaled(5000); i++) {
    const reference::Packet packet = check::randomPacket(random, random.oneIn(2), random.oneIn(2));
    const uint32_t transportBytes = random.dword() >> random.below(32);
    const Bytes spelled = reference::pseudoHeader(packet, transportBytes);
    const size_t addressBytes = packet.ipv6 ? 32 : 8;
    const uint64_t sum = pseudoHeaderSum(spelled.data(), addressBytes, packet.tcp ? 6 : 17, transportBytes);
    CHECK(foldChecksum(sum) == reference::checksum(spelled.data(), spelled.size()));
  }
}

}  // namespace

int main() {
  check::Random random = check::Random::fromEnvironment();
  size_t count = 0;
  const ChecksumKernel* kernels = checksumKernels(&count);

  rule("the last kernel is the portable one and always there", [&] {
    CHECK(count >= 1);
    CHECK(std::string(kernels[count - 1].name) == "portable");
    CHECK(kernels[count - 1].available());
  });
  for (size_t i = 0; i < count; i++) kernelRules(kernels[i], random);
  rule("the example of RFC 1071 section 3 gives ddf2", [] {
    const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    CHECK(foldChecksum(checksumSum(bytes, sizeof(bytes), 0)) == 0xddf2);
  });
  rule("folding keeps the value modulo 65535 and is zero only for zero", [&] {
    CHECK(foldChecksum(0) == 0);
    CHECK(foldChecksum(~uint64_t{0}) == 0xffff);
    for (size_t i = 0; i < check::scaled(20000); i++) {
      const uint64_t sum = random.next() >> random.below(63) | 1;
      const uint64_t folded = foldChecksum(sum);
      CHECK(folded % 65535 == sum % 65535);
      CHECK(folded != 0);
    }
  });
  rule("the chosen kernel equals the naive sum", [&] { dispatched(random); });
  rule("the pseudo-header sum equals the naive sum of the pseudo-header", [&] { pseudoHeaders(random); });
  return check::finish();
}
