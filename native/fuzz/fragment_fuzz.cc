// libFuzzer target: any frame cut to any size. Input: two bytes of size, then the frame. Whatever it is, nothing
// outside is touched; what is accepted comes together again.
#include <cstdio>
#include <cstdlib>

#include "../../test/native/fragment_check.h"

using reference::Bytes;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t most = static_cast<size_t>(data[0]) << 8 | data[1];
  Bytes frame(data + 2, data + size);
  frame.shrink_to_fit();
  selvage::FragmentPlan plan;
  const int planned = check::planFragments(frame, frame.size(), most, &plan);
  if (planned < 0) return 0;
  // The header checksum is made anew, not carried on.
  reference::set16(frame, 10, 0);
  reference::set16(frame, 10, 0xffffu - reference::checksum(frame.data(), plan.firstHeaderBytes));
  std::string wrong;
  const Bytes whole = reference::reassemble(check::fragmentsOf(plan, frame), most, wrong);
  if (wrong.empty() && whole == frame) return 0;
  std::fprintf(stderr, "does not come together: %s\n", wrong.c_str());
  std::abort();
}
