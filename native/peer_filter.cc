#include "peer_filter.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

#include "inet.h"
#include "set_up_error.h"

namespace selvage {

namespace {

constexpr uint32_t ONLY_KEY = 0;  // of the array of counts

int bpf(int command, bpf_attr* attributes) {
  return static_cast<int>(::syscall(__NR_bpf, command, attributes, sizeof(*attributes)));
}

/// The kernel refuses attributes with a bit set that it does not know, so all of the union has to be zero.
bpf_attr noAttributes() {
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof(attributes));
  return attributes;
}

uint64_t address(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

UniqueFd createMap(const char* subject, bpf_map_type type, uint32_t keyBytes, uint32_t valueBytes, uint32_t entries,
                   uint32_t flags) {
  bpf_attr attributes = noAttributes();
  attributes.map_type = type;
  attributes.key_size = keyBytes;
  attributes.value_size = valueBytes;
  attributes.max_entries = entries;
  attributes.map_flags = flags;
  UniqueFd map(bpf(BPF_MAP_CREATE, &attributes));
  if (!map.valid()) throw SetUpError{"BPF_MAP_CREATE", subject, errno};
  return map;
}

/// CPUs this kernel can ever have: so many values a per-CPU map copies out (lib/bitmap.c, format "0-3,6").
/// @throws SetUpError when /sys does not say: a number too small would let the kernel write past the values' end
size_t possibleCpus() {
  constexpr const char* FILE_NAME = "/sys/devices/system/cpu/possible";
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(FILE_NAME, "re"), std::fclose);
  if (!file) throw SetUpError{"open", FILE_NAME, errno};
  size_t cpus = 0;
  unsigned first;
  while (std::fscanf(file.get(), "%u", &first) == 1) {
    unsigned last = first;
    int next = std::fgetc(file.get());
    if (next == '-') {
      if (std::fscanf(file.get(), "%u", &last) != 1 || last < first) break;
      next = std::fgetc(file.get());
    }
    cpus += last - first + 1;
    if (next != ',') return cpus;
  }
  throw SetUpError{"read", FILE_NAME, EINVAL};
}

bpf_insn instruction(int code, int to, int from, int offset, int value) {
  bpf_insn result{};
  result.code = static_cast<uint8_t>(code);
  result.dst_reg = static_cast<uint8_t>(to) & 0xf;
  result.src_reg = static_cast<uint8_t>(from) & 0xf;
  result.off = static_cast<int16_t>(offset);
  result.imm = value;
  return result;
}

UniqueFd loadProgram(int family, int peersMap, int refusedMap) {
  constexpr int R0 = BPF_REG_0;
  constexpr int R1 = BPF_REG_1;
  constexpr int R2 = BPF_REG_2;
  constexpr int R3 = BPF_REG_3;
  constexpr int CONTEXT = BPF_REG_6;
  constexpr int DATAGRAMS = BPF_REG_7;
  constexpr int FRAME = BPF_REG_10;
  constexpr int SOURCE = -16;  // on the stack: the source as a key
  constexpr int INDEX = -20;   // on the stack: the key of the count
  constexpr int DROPS_AT = 0;
  constexpr int DATAGRAMS_AT = 8;
  constexpr int LAST_SOURCE_AT = 16;
  const bool ipv6 = family == AF_INET6;
  const int etherType = htons(ipv6 ? ETH_P_IPV6 : ETH_P_IP);
  const int sourceAt = static_cast<int>(ipv6 ? IPV6_ADDRESSES : IPV4_ADDRESSES);
  const int sourceBytes = static_cast<int>(ipv6 ? IPV6_ADDRESS_BYTES / 2 : IPV4_ADDRESS_BYTES / 2);

  const auto move = [](int to, int from) { return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); };
  const auto moveK = [](int to, int value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); };
  const auto add = [](int to, int from) { return instruction(BPF_ALU64 | BPF_ADD | BPF_X, to, from, 0, 0); };
  const auto addK = [](int to, int value) { return instruction(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value); };
  const auto load = [](int width, int to, int from, int offset) {
    return instruction(BPF_LDX | width | BPF_MEM, to, from, offset, 0);
  };
  const auto store = [](int width, int to, int offset, int from) {
    return instruction(BPF_STX | width | BPF_MEM, to, from, offset, 0);
  };
  const auto storeK = [](int width, int to, int offset, int value) {
    return instruction(BPF_ST | width | BPF_MEM, to, 0, offset, value);
  };
  const auto jumpK = [](int operation, int on, int value, int offset) {
    return instruction(BPF_JMP | operation | BPF_K, on, 0, offset, value);
  };
  const auto call = [](int helper) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, helper); };
  const auto loadMap = [](int to, int map) {  // takes two places; the second holds the upper half of a 64-bit value
    return instruction(BPF_LD | BPF_DW | BPF_IMM, to, BPF_PSEUDO_MAP_FD, 0, map);
  };
  const bpf_insn upperHalf = instruction(0, 0, 0, 0, 0);
  const bpf_insn exit = instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

  // A call leaves its result in R0 and clobbers R1 to R5.
  const bpf_insn program[] = {
      /* 0 */ move(CONTEXT, R1),
      /* 1 */ storeK(BPF_DW, FRAME, SOURCE, 0),
      /* 2 */ storeK(BPF_DW, FRAME, SOURCE + 8, 0),
      // a datagram of the other family has no source that could be a peer's
      /* 3 */ load(BPF_W, R0, CONTEXT, offsetof(__sk_buff, protocol)),
      /* 4 */ jumpK(BPF_JNE, R0, etherType, 21 - 5),
      // the source out of the IP header, which lies before the data (those begin with the UDP header)
      /* 5 */ move(R1, CONTEXT),
      /* 6 */ moveK(R2, sourceAt),
      /* 7 */ move(R3, FRAME),
      /* 8 */ addK(R3, SOURCE),
      /* 9 */ moveK(BPF_REG_4, sourceBytes),
      /* 10 */ moveK(BPF_REG_5, BPF_HDR_START_NET),
      /* 11 */ call(BPF_FUNC_skb_load_bytes_relative),
      /* 12 */ jumpK(BPF_JNE, R0, 0, 21 - 13),
      // a peer: the whole datagram passes
      /* 13 */ loadMap(R1, peersMap),
      /* 14 */ upperHalf,
      /* 15 */ move(R2, FRAME),
      /* 16 */ addK(R2, SOURCE),
      /* 17 */ call(BPF_FUNC_map_lookup_elem),
      /* 18 */ jumpK(BPF_JEQ, R0, 0, 21 - 19),
      /* 19 */ moveK(R0, -1),
      /* 20 */ exit,
      // a stranger: counted
      /* 21 */ storeK(BPF_W, FRAME, INDEX, ONLY_KEY),
      /* 22 */ loadMap(R1, refusedMap),
      /* 23 */ upperHalf,
      /* 24 */ move(R2, FRAME),
      /* 25 */ addK(R2, INDEX),
      /* 26 */ call(BPF_FUNC_map_lookup_elem),
      /* 27 */ jumpK(BPF_JEQ, R0, 0, 41 - 28),
      /* 28 */ load(BPF_DW, R1, R0, DROPS_AT),
      /* 29 */ addK(R1, 1),
      /* 30 */ store(BPF_DW, R0, DROPS_AT, R1),
      /* 31 */ load(BPF_W, DATAGRAMS, CONTEXT, offsetof(__sk_buff, gso_segs)),
      /* 32 */ jumpK(BPF_JNE, DATAGRAMS, 0, 34 - 33),
      /* 33 */ moveK(DATAGRAMS, 1),  // not a train
      /* 34 */ load(BPF_DW, R1, R0, DATAGRAMS_AT),
      /* 35 */ add(R1, DATAGRAMS),
      /* 36 */ store(BPF_DW, R0, DATAGRAMS_AT, R1),
      /* 37 */ load(BPF_DW, R1, FRAME, SOURCE),
      /* 38 */ store(BPF_DW, R0, LAST_SOURCE_AT, R1),
      /* 39 */ load(BPF_DW, R1, FRAME, SOURCE + 8),
      /* 40 */ store(BPF_DW, R0, LAST_SOURCE_AT + 8, R1),
      // nothing of it passes
      /* 41 */ moveK(R0, 0),
      /* 42 */ exit,
  };
  bpf_attr attributes = noAttributes();
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = address(program);
  attributes.insn_cnt = static_cast<uint32_t>(std::size(program));
  attributes.license = address("Apache-2.0");
  UniqueFd loaded(bpf(BPF_PROG_LOAD, &attributes));
  if (!loaded.valid()) throw SetUpError{"BPF_PROG_LOAD", "peer filter", errno};
  return loaded;
}

/// The addresses in rows of endpoints, sorted, each once.
std::vector<PeerAddress> addressesIn(const int32_t* rows, size_t count) {
  std::vector<PeerAddress> result;
  result.reserve(count);
  for (const int32_t* row = rows; row < rows + count * PeerFilter::ROW_WORDS; row += PeerFilter::ROW_WORDS) {
    if (row[4] == 0) continue;
    PeerAddress peer;
    for (size_t word = 0; word < peer.size(); word++) peer[word] = htonl(static_cast<uint32_t>(row[word]));
    result.push_back(peer);
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

/// All keys in one call (Linux 5.6). False also when some are done and some not.
bool changeAtOnce(int command, int map, const std::vector<PeerAddress>& keys, const std::vector<uint8_t>& values) {
  bpf_attr attributes = noAttributes();
  attributes.batch.map_fd = static_cast<uint32_t>(map);
  attributes.batch.keys = address(keys.data());
  attributes.batch.values = command == BPF_MAP_UPDATE_BATCH ? address(values.data()) : 0;
  attributes.batch.count = static_cast<uint32_t>(keys.size());
  return bpf(command, &attributes) == 0;
}

int changeOne(int command, int map, const PeerAddress& key, const uint8_t* value) {
  bpf_attr attributes = noAttributes();
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = address(key.data());
  attributes.value = command == BPF_MAP_UPDATE_ELEM ? address(value) : 0;
  return bpf(command, &attributes) == 0 ? 0 : -errno;
}

/// One by one where the kernel cannot do it at once or stopped half-way: doing a change twice changes nothing.
int addPeers(int map, const std::vector<PeerAddress>& keys) {
  if (keys.empty()) return 0;
  const std::vector<uint8_t> values(keys.size());
  if (changeAtOnce(BPF_MAP_UPDATE_BATCH, map, keys, values)) return 0;
  for (const PeerAddress& key : keys) {
    const int result = changeOne(BPF_MAP_UPDATE_ELEM, map, key, values.data());
    if (result < 0) return result;
  }
  return 0;
}

int removePeers(int map, const std::vector<PeerAddress>& keys) {
  if (keys.empty() || changeAtOnce(BPF_MAP_DELETE_BATCH, map, keys, {})) return 0;
  for (const PeerAddress& key : keys) {
    const int result = changeOne(BPF_MAP_DELETE_ELEM, map, key, nullptr);
    if (result < 0 && result != -ENOENT) return result;
  }
  return 0;
}

}  // namespace

std::unique_ptr<PeerFilter> PeerFilter::open(int family, std::vector<int> sockets) {
  return std::unique_ptr<PeerFilter>(new PeerFilter(family, std::move(sockets)));
}

PeerFilter::PeerFilter(int family, std::vector<int> sockets)
    // Without preallocation only the buckets (2 MiB) and the peers there are take memory.
    : peers_(createMap("peers", BPF_MAP_TYPE_HASH, sizeof(PeerAddress), sizeof(uint8_t), CAPACITY, BPF_F_NO_PREALLOC)),
      refused_(createMap("refused", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(ONLY_KEY), sizeof(Count), 1, 0)),
      program_(loadProgram(family, peers_.get(), refused_.get())),
      sockets_(std::move(sockets)),
      counts_(possibleCpus()),
      dropsBefore_(counts_.size()) {}

PeerFilter::~PeerFilter() { detach(); }

int PeerFilter::admit(const int32_t* rows, size_t count) {
  if (off_) return 0;
  const std::vector<PeerAddress> wanted = addressesIn(rows, count);
  std::vector<PeerAddress> missing;
  std::set_difference(wanted.begin(), wanted.end(), present_.begin(), present_.end(), std::back_inserter(missing));
  int result = addPeers(peers_.get(), missing);
  if (result == 0 && !attached_) result = attach();
  if (result < 0) {
    off_ = true;
    detach();
    return result;
  }
  std::vector<PeerAddress> all;
  std::set_union(present_.begin(), present_.end(), missing.begin(), missing.end(), std::back_inserter(all));
  present_ = std::move(all);
  return 0;
}

int PeerFilter::retain(const int32_t* rows, size_t count) {
  if (off_) return 0;
  const std::vector<PeerAddress> wanted = addressesIn(rows, count);
  std::vector<PeerAddress> gone;
  std::set_difference(present_.begin(), present_.end(), wanted.begin(), wanted.end(), std::back_inserter(gone));
  const int result = removePeers(peers_.get(), gone);
  if (result < 0) return result;
  std::vector<PeerAddress> left;
  std::set_intersection(present_.begin(), present_.end(), wanted.begin(), wanted.end(), std::back_inserter(left));
  present_ = std::move(left);
  return 0;
}

int PeerFilter::refused(Refused* out) {
  bpf_attr attributes = noAttributes();
  attributes.map_fd = static_cast<uint32_t>(refused_.get());
  attributes.key = address(&ONLY_KEY);
  attributes.value = address(counts_.data());
  if (bpf(BPF_MAP_LOOKUP_ELEM, &attributes) < 0) return -errno;
  *out = {};
  uint64_t most = 0;
  for (size_t cpu = 0; cpu < counts_.size(); cpu++) {
    const Count& count = counts_[cpu];
    out->drops += count.drops;
    out->datagrams += count.datagrams;
    // No clock says which CPU refused last; the one that refused most since the last call saw whoever sends most.
    const uint64_t since = count.drops - dropsBefore_[cpu];
    if (since > most) {
      most = since;
      lastSource_ = count.lastSource;
    }
    dropsBefore_[cpu] = count.drops;
  }
  for (size_t word = 0; word < lastSource_.size(); word++) {
    out->lastSource[word] = static_cast<int32_t>(ntohl(lastSource_[word]));
  }
  return 0;
}

int PeerFilter::attach() {
  attached_ = true;
  const int program = program_.get();
  for (const int socket : sockets_) {
    if (::setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program)) < 0) return -errno;
  }
  return 0;
}

void PeerFilter::detach() {
  if (!attached_) return;
  attached_ = false;
  const int none = 0;
  for (const int socket : sockets_) ::setsockopt(socket, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none));
}

}  // namespace selvage
