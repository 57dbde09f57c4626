#include "steering.h"

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <string>

#include "set_up_error.h"
#include "unique_fd.h"

namespace selvage {

namespace {

constexpr uint32_t GOLDEN_RATIO = 0x9e3779b1;  // Fibonacci hashing: spreads neighbouring addresses over the high bits
constexpr uint32_t HASH_SHIFT = 16;
constexpr uint32_t IPV4_FRAGMENT_BITS = 0x3fff;  // more-fragments flag and fragment offset, RFC 791 section 3.1

bpf_insn instruction(int code, int to, int from, int16_t offset, int32_t value) {
  bpf_insn result{};
  result.code = static_cast<uint8_t>(code);
  result.dst_reg = static_cast<uint8_t>(to) & 0xf;
  result.src_reg = static_cast<uint8_t>(from) & 0xf;
  result.off = offset;
  result.imm = value;
  return result;
}

}  // namespace

void steerUdpSockets(int fd, uint32_t lanes) {
  // The kernel runs the program with the UDP header pulled, so offset 0 is the inner IP header
  // (net/core/sock_reuseport.c run_bpf_filter). A load past the end returns 0: the first socket.
  sock_filter program[] = {
      /* 0 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
      /* 1 */ BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
      /* 2 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 18, 0),  // IPv6: to 21
      // IPv4 addresses
      /* 3 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12),
      /* 4 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 5 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16),
      /* 6 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 7 */ BPF_STMT(BPF_ST, 0),
      // ports of TCP and UDP, unless a fragment
      /* 8 */ BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
      /* 9 */ BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, IPV4_FRAGMENT_BITS, 49 - 10, 0),
      /* 10 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
      /* 11 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 1, 0),
      /* 12 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 49 - 13),
      /* 13 */ BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
      /* 14 */ BPF_STMT(BPF_LD | BPF_H | BPF_IND, 0),
      /* 15 */ BPF_STMT(BPF_ST, 1),
      /* 16 */ BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
      /* 17 */ BPF_STMT(BPF_LDX | BPF_MEM, 1),
      /* 18 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 19 */ BPF_STMT(BPF_ST, 1),
      /* 20 */ BPF_STMT(BPF_JMP | BPF_JA, 45 - 21),
      // IPv6 addresses
      /* 21 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 8),
      /* 22 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 23 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12),
      /* 24 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 25 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 26 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16),
      /* 27 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 28 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 29 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 20),
      /* 30 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 31 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 32 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 24),
      /* 33 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 34 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 35 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 28),
      /* 36 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 37 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 38 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 32),
      /* 39 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 40 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
      /* 41 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 36),
      /* 42 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 43 */ BPF_STMT(BPF_ST, 0),
      /* 44 */ BPF_STMT(BPF_JMP | BPF_JA, 49 - 45),
      // hash = addresses ^ ports
      /* 45 */ BPF_STMT(BPF_LD | BPF_MEM, 0),
      /* 46 */ BPF_STMT(BPF_LDX | BPF_MEM, 1),
      /* 47 */ BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
      /* 48 */ BPF_STMT(BPF_ST, 0),
      /* 49 */ BPF_STMT(BPF_LD | BPF_MEM, 0),
      /* 50 */ BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, GOLDEN_RATIO),
      /* 51 */ BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, HASH_SHIFT),
      /* 52 */ BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, lanes),
      /* 53 */ BPF_STMT(BPF_RET | BPF_A, 0),
  };
  const sock_fprog attach = {static_cast<unsigned short>(std::size(program)), program};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attach, sizeof(attach)) < 0) {
    throw SetUpError{"SO_ATTACH_REUSEPORT_CBPF", "UDP socket", errno};
  }
}

bool steerTunQueues(int fd, uint32_t lanes) {
  constexpr int R0 = BPF_REG_0;
  constexpr int ADDRESSES = BPF_REG_7;
  constexpr int PORTS = BPF_REG_8;
  const auto load = [](int width, int32_t offset) { return instruction(BPF_LD | width | BPF_ABS, 0, 0, 0, offset); };
  const auto loadIndirect = [](int from, int width, int32_t offset) {
    return instruction(BPF_LD | width | BPF_IND, 0, from, 0, offset);
  };
  const auto aluK = [](int operation, int to, int32_t value) {
    return instruction(BPF_ALU | operation | BPF_K, to, 0, 0, value);
  };
  const auto aluX = [](int operation, int to, int from) {
    return instruction(BPF_ALU | operation | BPF_X, to, from, 0, 0);
  };
  const auto jump = [](int operation, int on, int32_t value, int16_t offset) {
    return instruction(BPF_JMP | operation | BPF_K, on, 0, offset, value);
  };
  // The same steps as above. A packet load leaves its value in R0, clobbers R1 to R5 and takes the packet from R6;
  // a load past the end ends the program with 0.
  const bpf_insn program[] = {
      /* 0 */ instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0),
      /* 1 */ aluK(BPF_MOV, PORTS, 0),
      /* 2 */ load(BPF_B, 0),
      /* 3 */ aluK(BPF_RSH, R0, 4),
      /* 4 */ jump(BPF_JEQ, R0, 6, 18),  // IPv6: to 23
      // IPv4 addresses
      /* 5 */ load(BPF_W, 12),
      /* 6 */ aluX(BPF_MOV, ADDRESSES, R0),
      /* 7 */ load(BPF_W, 16),
      /* 8 */ aluX(BPF_XOR, ADDRESSES, R0),
      // ports of TCP and UDP, unless a fragment
      /* 9 */ load(BPF_H, 6),
      /* 10 */ jump(BPF_JSET, R0, IPV4_FRAGMENT_BITS, 39 - 11),
      /* 11 */ load(BPF_B, 9),
      /* 12 */ jump(BPF_JEQ, R0, IPPROTO_TCP, 1),
      /* 13 */ jump(BPF_JNE, R0, IPPROTO_UDP, 39 - 14),
      /* 14 */ load(BPF_B, 0),
      /* 15 */ aluK(BPF_AND, R0, 0x0f),
      /* 16 */ aluK(BPF_LSH, R0, 2),
      /* 17 */ aluX(BPF_MOV, BPF_REG_9, R0),
      /* 18 */ loadIndirect(BPF_REG_9, BPF_H, 0),
      /* 19 */ aluX(BPF_MOV, PORTS, R0),
      /* 20 */ loadIndirect(BPF_REG_9, BPF_H, 2),
      /* 21 */ aluX(BPF_XOR, PORTS, R0),
      /* 22 */ jump(BPF_JA, 0, 0, 39 - 23),
      // IPv6 addresses
      /* 23 */ load(BPF_W, 8),
      /* 24 */ aluX(BPF_MOV, ADDRESSES, R0),
      /* 25 */ load(BPF_W, 12),
      /* 26 */ aluX(BPF_XOR, ADDRESSES, R0),
      /* 27 */ load(BPF_W, 16),
      /* 28 */ aluX(BPF_XOR, ADDRESSES, R0),
      /* 29 */ load(BPF_W, 20),
      /* 30 */ aluX(BPF_XOR, ADDRESSES, R0),
      /* 31 */ load(BPF_W, 24),
      /* 32 */ aluX(BPF_XOR, ADDRESSES, R0),
      /* 33 */ load(BPF_W, 28),
      /* 34 */ aluX(BPF_XOR, ADDRESSES, R0),
      /* 35 */ load(BPF_W, 32),
      /* 36 */ aluX(BPF_XOR, ADDRESSES, R0),
      /* 37 */ load(BPF_W, 36),
      /* 38 */ aluX(BPF_XOR, ADDRESSES, R0),
      // hash
      /* 39 */ aluX(BPF_XOR, ADDRESSES, PORTS),
      /* 40 */ aluK(BPF_MUL, ADDRESSES, static_cast<int32_t>(GOLDEN_RATIO)),
      /* 41 */ aluK(BPF_RSH, ADDRESSES, HASH_SHIFT),
      /* 42 */ aluK(BPF_MOD, ADDRESSES, static_cast<int32_t>(lanes)),
      /* 43 */ aluX(BPF_MOV, R0, ADDRESSES),
      /* 44 */ instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = reinterpret_cast<uint64_t>(program);
  attributes.insn_cnt = static_cast<uint32_t>(std::size(program));
  attributes.license = reinterpret_cast<uint64_t>("Apache-2.0");
  const UniqueFd loaded(static_cast<int>(::syscall(__NR_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes))));
  if (!loaded.valid()) return false;
  int programFd = loaded.get();
  return ::ioctl(fd, TUNSETSTEERINGEBPF, &programFd) == 0;
}

}  // namespace selvage
