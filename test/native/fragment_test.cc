// fragment.cc against a reassembly written from RFC 791.
#include <cerrno>

#include "check.h"
#include "fragment_check.h"

using namespace selvage;
using check::fragmentsOf;
using check::Random;
using check::randomCuttable;
using check::rule;
using reference::Bytes;
using reference::Packet;

namespace {

Bytes headerOf(const Bytes& frame) { return Bytes(frame.begin(), frame.begin() + (frame[0] & 0x0f) * 4); }

/// Puts a value into the flags and offset, and the checksum right.
void setFragmentField(Bytes& frame, unsigned value) {
  const size_t headerBytes = headerOf(frame).size();
  reference::set16(frame, 6, value);
  reference::set16(frame, 10, 0);
  reference::set16(frame, 10, 0xffffu - reference::checksum(frame.data(), headerBytes));
}

/// Cuts a frame that can be cut and holds what comes together against it.
std::vector<Bytes> cutsAndReassembles(const Bytes& frame, size_t most) {
  FragmentPlan plan;
  const Bytes header = headerOf(frame);
  const int planned = check::planFragments(header, frame.size(), most, &plan);
  CHECK_CASE(planned >= 2, std::to_string(planned) + " for " + std::to_string(most));
  if (planned < 2) return {};
  CHECK(plan.fragments == static_cast<uint32_t>(planned));
  const std::vector<Bytes> fragments = fragmentsOf(plan, frame);
  std::string wrong;
  const Bytes whole = reference::reassemble(fragments, most, wrong);
  CHECK_CASE(wrong.empty(), wrong);
  CHECK(whole == frame);
  return fragments;
}

Packet sample(size_t payloadBytes) {
  Random random(5);
  Packet packet = check::randomPacket(random, false, false);
  packet.dontFragment = false;
  packet.payload = random.bytes(payloadBytes);
  return packet;
}

int refusal(const Bytes& frame, size_t most) {
  FragmentPlan plan;
  return check::planFragments(frame, frame.size(), most, &plan);
}

void namedRules(Random& random) {
  rule("random frames of every size, cut to every size, come together again", [&] {
    for (size_t i = 0; i < check::scaled(4000); i++) {
      const Bytes frame = randomCuttable(random, 60, random.oneIn(50) ? 65400 : 3000);
      const size_t least = headerOf(frame).size() + 8;
      cutsAndReassembles(frame, random.between(least, frame.size() - 1));
    }
  });
  rule("a fragment is cut on: its pieces keep its offset, the last one its more-fragments flag", [&] {
    for (const unsigned field : {0x2000u, 0x2001u, 0x0123u, 0x20b9u, 0xa0b9u}) {
      Bytes frame = build(sample(1600));
      setFragmentField(frame, field);
      const std::vector<Bytes> fragments = cutsAndReassembles(frame, 576);
      CHECK(fragments.size() == 3);
      CHECK((reference::get16(fragments.back(), 6) & 0xe000) == (field & 0xe000));
      CHECK((reference::get16(fragments.front(), 6) & 0xe000) == ((field & 0x8000) | 0x2000));
    }
  });
  rule("one byte more than fits makes two fragments", [] {
    const std::vector<Bytes> fragments = cutsAndReassembles(build(sample(1473)), 1500);
    CHECK(fragments.size() == 2);
    if (fragments.size() == 2) CHECK(fragments[0].size() == 1500 && fragments[1].size() == 21);
  });
  rule("only options with the copied flag are in the later fragments", [] {
    Packet packet = sample(400);
    packet.ipOptions = {7, 7, 4, 0, 0, 0, 0, 0x88, 4, 0x12, 0x34, 1};  // record route, stream id, no-operation
    const std::vector<Bytes> fragments = cutsAndReassembles(build(packet), 200);
    CHECK(fragments.size() == 3);
    for (size_t i = 1; i < fragments.size(); i++) {
      CHECK(headerOf(fragments[i]).size() == 24);
      CHECK(Bytes(fragments[i].begin() + 20, fragments[i].begin() + 24) == Bytes({0x88, 4, 0x12, 0x34}));
    }
  });
  rule("nothing is read behind an end of options", [] {
    Packet packet = sample(100);
    packet.ipOptions = {0, 0x88, 1, 0};
    CHECK(headerOf(cutsAndReassembles(build(packet), 64)[1]).size() == 20);
  });
}

void refusals(Random& random) {
  rule("EMSGSIZE: a frame with DF, one of IPv6, and room for less than a header and 8 bytes", [] {
    Packet packet = sample(400);
    packet.dontFragment = true;
    CHECK(refusal(build(packet), 200) == -EMSGSIZE);
    packet.dontFragment = false;
    for (const size_t most : {0u, 1u, 19u, 27u}) CHECK(refusal(build(packet), most) == -EMSGSIZE);
    cutsAndReassembles(build(packet), 28);
    packet.ipOptions.assign(40, 1);
    CHECK(refusal(build(packet), 67) == -EMSGSIZE);
    cutsAndReassembles(build(packet), 68);
    packet.ipv6 = true;
    CHECK(refusal(build(packet), 200) == -EMSGSIZE);
  });
  rule("EINVAL: a header that is not all there, or whose length lies", [] {
    const Bytes good = build(sample(400));
    FragmentPlan plan;
    for (size_t start = 0; start < 20; start++) {
      CHECK(check::planFragments(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(start)), good.size(),
                                 200, &plan) == -EINVAL);
    }
    CHECK(check::planFragments(headerOf(good), good.size() + 1, 200, &plan) == -EINVAL);
    CHECK(check::planFragments(headerOf(good), good.size() - 1, 200, &plan) == -EINVAL);
    Bytes longer = headerOf(good);
    longer[0] = 0x46;
    CHECK(check::planFragments(longer, good.size(), 200, &plan) == -EINVAL);
    longer[0] = 0x44;
    CHECK(check::planFragments(longer, good.size(), 200, &plan) == -EINVAL);
  });
  rule("EINVAL: an option whose length lies, and an offset past what IP can carry", [] {
    Packet packet = sample(400);
    for (const Bytes& options :
         {Bytes{0x88, 0, 1, 1}, Bytes{0x88, 1, 1, 1}, Bytes{0x88, 5, 1, 1}, Bytes{1, 1, 1, 0x88}}) {
      packet.ipOptions = options;
      CHECK(refusal(build(packet), 200) == -EINVAL);
    }
    packet.ipOptions.clear();
    Bytes frame = build(packet);
    setFragmentField(frame, 0x1fff - 407 / 8);  // 408 bytes of data: the last 8 lie at the last offset
    cutsAndReassembles(frame, 200);
    setFragmentField(frame, 0x1fff - 407 / 8 + 1);
    CHECK(refusal(frame, 200) == -EINVAL);
  });
  rule("random bytes are refused, or cut into what comes together again", [&] {
    size_t cut = 0;
    for (size_t i = 0; i < check::scaled(40000); i++) {
      Bytes frame = random.bytes(random.between(21, 200));
      frame[0] = static_cast<uint8_t>(0x40 | (frame[0] & 0x0f));
      reference::set16(frame, 2, static_cast<unsigned>(frame.size()));
      const size_t most = random.below(frame.size());
      FragmentPlan plan;
      const int planned = check::planFragments(frame, frame.size(), most, &plan);
      if (planned < 0) continue;
      cut++;
      setFragmentField(frame, reference::get16(frame, 6));
      cutsAndReassembles(frame, most);
    }
    CHECK(cut > 0);
  });
}

}  // namespace

int main() {
  Random random = Random::fromEnvironment();
  namedRules(random);
  refusals(random);
  return check::finish();
}
