#include "set_up_error.h"

#include <cerrno>
#include <cstring>

namespace selvage {

namespace {
struct Remedy {
  const char* syscall;
  int errorNumber;
  const char* text;
};

constexpr Remedy REMEDIES[] = {
    {"open", ENOENT,
     "the tun module is not loaded or the device node is missing: run 'modprobe tun', or 'mkdir -p /dev/net && mknod "
     "/dev/net/tun c 10 200'; in a container pass the device in (docker: --device /dev/net/tun)"},
    {"open", ENODEV, "the kernel has no TUN driver: run 'modprobe tun'"},
    {"open", ENXIO, "the kernel has no TUN driver: run 'modprobe tun'"},
    {"open", EACCES, "this user may not open it: run as root, or give the user access to the device node"},
    {"open", EPERM, "this container may not use the device: allow it (docker: --device /dev/net/tun)"},
    {"TUNSETIFF", EPERM, "needs CAP_NET_ADMIN in this network namespace: run as root or grant the capability"},
    {"TUNSETIFF", EBUSY,
     "a device of that name exists: another selvage or flanneld is running, or remove it with 'ip link delete'"},
    {"TUNSETIFF", EEXIST,
     "a device of that name exists: another selvage or flanneld is running, or remove it with 'ip link delete'"},
    {"TUNSETIFF", EINVAL,
     "a device of that name exists and is not a TUN device with the same settings: choose another name, or remove it "
     "with 'ip link delete'"},
    {"TUNSETIFF", E2BIG, "the device has no more queues: use fewer lanes"},
    {"BPF_MAP_CREATE", EPERM,
     "needs CAP_BPF in the initial user namespace, and before Linux 5.11 16 MiB of locked memory: run as root with "
     "'ulimit -l unlimited'"},
    {"BPF_PROG_LOAD", EPERM, "needs CAP_BPF in the initial user namespace: run as root"},
    {"bind", EADDRINUSE,
     "another process has the port: stop it (another selvage or flanneld?), or choose another --port"},
    {"bind", EADDRNOTAVAIL, "no interface of this host has that address: check --iface"},
    {"bind", EACCES, "ports below 1024 need CAP_NET_BIND_SERVICE: run as root or choose a higher --port"},
    {"inet_pton", EINVAL, "that is neither an IPv4 nor an IPv6 address: check the underlay's address"},
    {"socket", EAFNOSUPPORT, "the kernel has no IPv6 (booted with ipv6.disable=1?): use an IPv4 underlay"},
    {"socket", EMFILE, "too many open files: raise 'ulimit -n'"},
    {"SO_ATTACH_REUSEPORT_CBPF", ENOMEM, "raise net.core.optmem_max, or use one lane"},
};
}  // namespace

const char* remedyFor(const SetUpError& error) {
  for (const Remedy& remedy : REMEDIES) {
    if (remedy.errorNumber == error.errorNumber && std::strcmp(remedy.syscall, error.syscall) == 0) return remedy.text;
  }
  return "";
}

}  // namespace selvage
