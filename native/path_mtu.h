// What the kernel knows of how large a packet can be: on an interface, and on the path to a peer. Control calls, never
// inside a lane's loop. Kernel file: system calls, no Node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace selvage {

/// @returns MTU of an interface of this network namespace, in bytes, or -errno
int interfaceMtu(const std::string& name);

/// Most bytes of an outer IP packet to an address, as the kernel knows it: the route's or interface's MTU, or less
/// after an ICMP error that named less.
/// @param fd a socket of openUdp: its family and local address choose the route
/// @param words ADDRESS_WORDS words
/// @returns bytes, or -errno
int udpPathMtu(int fd, const int32_t* words);

/// Sends one datagram from a lane's socket, whole or not at all, without waiting. Safe while a lane uses the socket; in
/// the moment in which the lane lets one of its own datagrams be fragmented (CUT_OUTER), this one may be, too.
/// @returns bytes sent, or -errno (EMSGSIZE: larger than the known path MTU)
int udpSendProbe(int fd, const int32_t* words, uint16_t port, const uint8_t* bytes, size_t count);

}  // namespace selvage
