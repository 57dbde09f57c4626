// Tells a service manager how the daemon is (sd_notify(3)). Node has no Unix datagram sockets.
#pragma once

#include <string>

namespace selvage {

/// Sends one datagram to a Unix socket.
///
/// @param path begins with '/', or with '@' for the abstract namespace, where that stands for a zero byte (unix(7))
/// @returns 0, or -errno: -EAFNOSUPPORT for another kind of path, -EAGAIN when the receiver took nothing for a second
int notify(const std::string& path, const std::string& text);

}  // namespace selvage
