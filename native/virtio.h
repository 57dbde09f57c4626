// The virtio-net header that a TUN queue opened with IFF_VNET_HDR puts before each frame.
// Layout and values: Linux include/uapi/linux/virtio_net.h, host byte order (TUNSETVNETLE is not used).
// Pure: no system call, no Node.
#pragma once

#include <cstddef>
#include <cstdint>

namespace selvage {

struct VnetHeader {
  uint8_t flags;         // VNET_NEEDS_CSUM or 0
  uint8_t gsoType;       // VNET_GSO_*, perhaps with VNET_GSO_ECN
  uint16_t headerBytes;  // a hint only: the kernel's value can be wrong on the forwarding path
  uint16_t gsoBytes;     // payload bytes of one segment
  uint16_t csumStart;    // bytes from the frame's start to where the checksum begins
  uint16_t csumOffset;   // bytes from csumStart to the checksum field
};
static_assert(sizeof(VnetHeader) == 10);

constexpr uint8_t VNET_NEEDS_CSUM = 1;
constexpr uint8_t VNET_GSO_NONE = 0;
constexpr uint8_t VNET_GSO_TCPV4 = 1;
constexpr uint8_t VNET_GSO_TCPV6 = 4;
constexpr uint8_t VNET_GSO_UDP_L4 = 5;  // Linux 6.2, TUN_F_USO4 / TUN_F_USO6
constexpr uint8_t VNET_GSO_ECN = 0x80;  // a flag beside the type: the first segment carries CWR

}  // namespace selvage
