// Which lane carries a flow: two small programs in the kernel that both compute
//
//   hash = (source address ^ destination address) [^ source port ^ destination port], mixed; lane = hash mod lanes
//
// over the *inner* packet, because all outer packets between two hosts look alike. The hash is the same for both
// directions of a flow. Fragments are placed by their addresses alone, as later fragments carry no ports.
// Kernel file: system calls, no Node.
#pragma once

#include <cstdint>

namespace selvage {

/// Makes the sockets that share a port pick the receiver by inner flow: socket i, in order of bind, gets lane i's flows.
/// Linux 4.5, SO_ATTACH_REUSEPORT_CBPF on any one of them.
/// @throws SetUpError
void steerUdpSockets(int fd, uint32_t lanes);

/// Makes the TUN device pick its queue by inner flow. Linux 4.16, TUNSETSTEERINGEBPF; needs CAP_BPF or root in the
/// initial user namespace.
/// @returns false when the kernel refuses: the device then keeps a flow on the queue that last carried its reverse
///   direction, so a flow may change lanes once, when its first answer arrives
bool steerTunQueues(int fd, uint32_t lanes);

}  // namespace selvage
