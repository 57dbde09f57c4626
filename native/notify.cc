#include "notify.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "unique_fd.h"

namespace selvage {
namespace {

/// A service manager that reads nothing must not stop the control plane for good: sendto(2) waits for room.
constexpr timeval SEND_TIMEOUT = {1, 0};

}  // namespace

int notify(const std::string& path, const std::string& text) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || (path[0] != '/' && path[0] != '@')) return -EAFNOSUPPORT;
  // A name in the file system may fill the array without a final zero byte (unix(7), BUGS).
  if (path.size() > sizeof(address.sun_path)) return -ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  // The length counts in the abstract namespace: zero bytes behind the name would be part of it.
  const socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());

  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return -errno;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &SEND_TIMEOUT, sizeof(SEND_TIMEOUT)) < 0) return -errno;
  ssize_t sent;
  do {
    sent = ::sendto(socket.get(), text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
                    length);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : 0;
}

}  // namespace selvage
