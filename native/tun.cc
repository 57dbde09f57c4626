#include "tun.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "segment.h"
#include "set_up_error.h"

#ifndef TUN_F_USO4  // Linux 6.2; Debian 12's headers are older than the kernels it may run on
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace selvage {

namespace {

constexpr char TUN_PATH[] = "/dev/net/tun";
constexpr short QUEUE_FLAGS = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
constexpr uint32_t MAX_FRAME_BYTES = 65535;
constexpr size_t FRAME_ALIGNMENT = 64;  // a cache line: headers of neighbouring frames do not share one

UniqueFd openQueue(const std::string& name, bool first, std::string* actualName) {
  UniqueFd fd(::open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) throw SetUpError{"open", TUN_PATH, errno};
  ifreq request{};
  if (name.size() >= sizeof(request.ifr_name)) throw SetUpError{"TUNSETIFF", name, ENAMETOOLONG};
  std::memcpy(request.ifr_name, name.data(), name.size());
  // Without IFF_TUN_EXCL a running daemon's device would be joined as one more queue and its traffic stolen.
  request.ifr_flags = static_cast<short>(QUEUE_FLAGS | (first ? IFF_TUN_EXCL : 0));
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) throw SetUpError{"TUNSETIFF", name, errno};
  *actualName = request.ifr_name;
  return fd;
}

/// The largest set of offloads that the kernel takes; it refuses the whole set for one unknown flag.
TunOffloads setOffloads(int fd) {
  struct Step {
    unsigned flags;
    TunOffloads offloads;
  };
  constexpr unsigned TSO = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  constexpr Step STEPS[] = {
      {TSO | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6, {true, true, true, true, true}},
      {TSO | TUN_F_TSO_ECN, {true, true, true, true, false}},
      {TSO, {true, true, true, false, false}},
      {TUN_F_CSUM, {true, false, false, false, false}},
  };
  for (const Step& step : STEPS) {
    if (::ioctl(fd, TUNSETOFFLOAD, step.flags) == 0) return step.offloads;
  }
  return {};
}

/// A superframe of one segment is an ordinary frame whose header is still to be completed.
void makeOrdinary(const SegmentPlan& plan, uint8_t* frame) {
  uint8_t header[MAX_HEADER_BYTES];
  const uint8_t* payload;
  stampSegment(plan, 0, header, &payload);
  std::memcpy(frame, header, plan.headerBytes);
}

/// Derives what the columns say of the frame just read, from its virtio-net header.
void describeRow(const Burst& burst, uint32_t row, uint8_t* frame, uint32_t bytes, const VnetHeader& vnet) {
  burst.offset[row] = static_cast<int32_t>(frame - burst.slab);
  burst.length[row] = static_cast<int32_t>(bytes);
  burst.segments[row] = 1;
  burst.wireBytes[row] = static_cast<int32_t>(bytes);
  if (vnet.gsoType != VNET_GSO_NONE) {
    SegmentPlan plan;
    const int segments = planSegments(vnet, frame, bytes, &plan);
    burst.segments[row] = segments > 0 ? segments : 0;
    if (segments > 0) burst.wireBytes[row] = static_cast<int32_t>(plan.headerBytes + plan.payloadBytes);
    if (segments == 1) makeOrdinary(plan, frame);
  } else if ((vnet.flags & VNET_NEEDS_CSUM) != 0 && finishChecksum(vnet, frame, bytes) != 0) {
    burst.segments[row] = 0;
  }
}

/// Writes one frame; TUN takes it whole or not at all.
bool writeFrame(int fd, const iovec* pieces, uint32_t count, int* errorNumber) {
  ssize_t written;
  do {
    written = ::writev(fd, pieces, static_cast<int>(count));
    *errorNumber = errno;
  } while (written < 0 && *errorNumber == EINTR);
  return written >= 0;
}

}  // namespace

TunDevice openTun(const std::string& name, uint32_t queues, bool offload) {
  TunDevice device;
  device.name = name;
  for (uint32_t i = 0; i < queues; i++) {
    device.queues.push_back(openQueue(device.name, i == 0, &device.name));
  }
  if (offload) device.offloads = setOffloads(device.queues[0].get());
  return device;
}

int tunRecvBurst(int fd, const Burst& burst, uint32_t maxRows) {
  size_t at = TUN_HEADROOM_BYTES;
  const uint32_t limit = maxRows < burst.rows ? maxRows : burst.rows;
  uint32_t row = 0;
  while (row < limit && at + MAX_FRAME_BYTES <= burst.slabBytes) {
    uint8_t* frame = burst.slab + at;
    uint8_t* header = frame - sizeof(VnetHeader);
    const ssize_t got = ::read(fd, header, sizeof(VnetHeader) + MAX_FRAME_BYTES);
    if (got < 0) {
      const int errorNumber = errno;
      if (errorNumber == EINTR) continue;
      if (errorNumber == EAGAIN || row > 0) break;
      return -errorNumber;
    }
    if (got < static_cast<ssize_t>(sizeof(VnetHeader))) continue;
    VnetHeader vnet;
    std::memcpy(&vnet, header, sizeof(vnet));
    const uint32_t bytes = static_cast<uint32_t>(got) - static_cast<uint32_t>(sizeof(VnetHeader));
    describeRow(burst, row, frame, bytes, vnet);
    row++;
    at += (bytes + TUN_HEADROOM_BYTES + FRAME_ALIGNMENT - 1) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
  }
  return static_cast<int>(row);
}

int tunSendCoalesced(int fd, const Burst& burst, uint32_t count, const Coalescer& coalescer) {
  iovec pieces[1 + Coalescer::MAX_SEGMENTS];
  int rowsWithLoss = 0;
  for (uint32_t i = 0; i < count; i++) {
    burst.clearLoss(i);
    if (burst.fate[i] < 0) continue;
    const CoalescedFrame& frame = coalescer.frame(i);
    VnetHeader vnet = frame.vnet;
    pieces[0] = {&vnet, sizeof(vnet)};
    const uint32_t pieceCount = 1 + coalescer.gather(i, pieces + 1);
    int errorNumber;
    if (writeFrame(fd, pieces, pieceCount, &errorNumber)) continue;
    burst.addLoss(i, static_cast<int32_t>(frame.segments), errorNumber);
    rowsWithLoss++;
  }
  return rowsWithLoss;
}

int tunSendPlain(int fd, const Burst& burst, uint32_t count) {
  VnetHeader vnet{};
  int rowsWithLoss = 0;
  for (uint32_t i = 0; i < count; i++) {
    burst.clearLoss(i);
    if (burst.fate[i] < 0) continue;
    int errorNumber = EFAULT;
    if (burst.rowIsInside(i, 0)) {
      const iovec pieces[2] = {{&vnet, sizeof(vnet)},
                               {burst.slab + burst.offset[i], static_cast<size_t>(burst.length[i])}};
      if (writeFrame(fd, pieces, 2, &errorNumber)) continue;
    }
    burst.addLoss(i, 1, errorNumber);
    rowsWithLoss++;
  }
  return rowsWithLoss;
}

}  // namespace selvage
