// The binding: arguments in, an int out. Set-up calls throw; hot calls return a count or -errno and never throw.
// Every function is declared to TypeScript, with units, in src/native.ts.
#include <node_api.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "checksum.h"
#include "lane.h"
#include "notify.h"
#include "path_mtu.h"
#include "peer_filter.h"
#include "set_up_error.h"
#include "steering.h"
#include "tun.h"
#include "udp.h"

namespace selvage {
namespace {

/// A lane and the references that keep its columns' memory alive.
struct AttachedLane {
  std::unique_ptr<Lane> lane;
  std::vector<napi_ref> columns;
  napi_ref endpoints = nullptr;
};

/// What belongs to one Node environment (the main thread or one worker): no globals, so several can live at once.
struct Environment {
  std::vector<AttachedLane> lanes;  // a handle is an index; a detached lane leaves an empty place that is used again
};

Environment* environmentOf(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Environment*>(data);
}

// ------------------------------------------------------------------------------------------ arguments and results

/// The arguments of one call. Wrong types read as zero or empty: src/native.ts is the only caller and is typed.
template <size_t N>
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = N;
    napi_get_cb_info(env, info, &count, values_, nullptr, nullptr);
  }
  napi_value at(size_t i) const { return values_[i]; }
  int32_t integer(size_t i) const {
    int32_t value = 0;
    napi_get_value_int32(env_, values_[i], &value);
    return value;
  }
  bool boolean(size_t i) const {
    bool value = false;
    napi_get_value_bool(env_, values_[i], &value);
    return value;
  }
  std::string string(size_t i) const {
    size_t length = 0;
    if (napi_get_value_string_utf8(env_, values_[i], nullptr, 0, &length) != napi_ok) return {};
    std::string text(length, '\0');
    napi_get_value_string_utf8(env_, values_[i], text.data(), length + 1, &length);
    return text;
  }

 private:
  napi_env env_;
  napi_value values_[N] = {};
};

struct TypedArray {
  void* data = nullptr;
  size_t length = 0;
};

bool typedArray(napi_env env, napi_value value, napi_typedarray_type expected, TypedArray* out) {
  napi_typedarray_type type;
  return napi_get_typedarray_info(env, value, &type, &out->length, &out->data, nullptr, nullptr) == napi_ok &&
         type == expected;
}

napi_value integer(napi_env env, int64_t value) {
  napi_value result = nullptr;
  napi_create_int64(env, value, &result);
  return result;
}

napi_value hotResult(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value boolean(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value text(napi_env env, const char* value) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &result);
  return result;
}

napi_value object(napi_env env) {
  napi_value result = nullptr;
  napi_create_object(env, &result);
  return result;
}

void set(napi_env env, napi_value target, const char* name, napi_value value) {
  napi_set_named_property(env, target, name, value);
}

const char* errnoName(int errorNumber) {
  const char* name = ::strerrorname_np(errorNumber);
  return name != nullptr ? name : "EUNKNOWN";
}

napi_value throwSetUpError(napi_env env, const SetUpError& error) {
  const char* name = errnoName(error.errorNumber);
  const char* remedy = remedyFor(error);
  std::string message = std::string(error.syscall) + " " + error.subject + ": " + name + " (" +
                        (remedy[0] != '\0' ? remedy : ::strerror(error.errorNumber)) + ")";
  napi_value thrown = nullptr;
  napi_create_error(env, text(env, name), text(env, message.c_str()), &thrown);
  set(env, thrown, "errno", integer(env, error.errorNumber));
  set(env, thrown, "syscall", text(env, error.syscall));
  napi_throw(env, thrown);
  return nullptr;
}

napi_value throwRangeError(napi_env env, const char* message) {
  napi_throw_range_error(env, "ERR_NATIVE_ARGUMENT", message);
  return nullptr;
}

// ------------------------------------------------------------------------------------------------------- set-up

napi_value OpenTun(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  const int32_t queues = arguments.integer(1);
  if (queues < 1 || queues > 256) return throwRangeError(env, "openTun: queues must be 1 to 256");
  try {
    TunDevice device = openTun(arguments.string(0), static_cast<uint32_t>(queues), arguments.boolean(2));
    napi_value result = object(env);
    set(env, result, "name", text(env, device.name.c_str()));
    napi_value offloads = object(env);
    set(env, offloads, "checksum", boolean(env, device.offloads.checksum));
    set(env, offloads, "tso4", boolean(env, device.offloads.tso4));
    set(env, offloads, "tso6", boolean(env, device.offloads.tso6));
    set(env, offloads, "tsoEcn", boolean(env, device.offloads.tsoEcn));
    set(env, offloads, "uso", boolean(env, device.offloads.uso));
    set(env, result, "offloads", offloads);
    napi_value fds = nullptr;
    napi_create_array(env, &fds);
    for (size_t i = 0; i < device.queues.size(); i++) {
      napi_set_element(env, fds, static_cast<uint32_t>(i), integer(env, device.queues[i].release()));
    }
    set(env, result, "fds", fds);
    return result;
  } catch (const SetUpError& error) {
    return throwSetUpError(env, error);
  }
}

napi_value OpenUdp(napi_env env, napi_callback_info info) {
  const Arguments<6> arguments(env, info);
  UdpSocketOptions options;
  options.address = arguments.string(0);
  options.port = static_cast<uint16_t>(arguments.integer(1));
  options.reusePort = arguments.boolean(2);
  options.gro = arguments.boolean(3);
  options.receiveBufferBytes = arguments.integer(4);
  options.sendBufferBytes = arguments.integer(5);
  try {
    UdpSocket socket = openUdp(options);
    napi_value result = object(env);
    set(env, result, "port", integer(env, socket.port));
    set(env, result, "gso", boolean(env, socket.gso));
    set(env, result, "gro", boolean(env, socket.gro));
    set(env, result, "receiveBufferBytes", integer(env, socket.receiveBufferBytes));
    set(env, result, "sendBufferBytes", integer(env, socket.sendBufferBytes));
    set(env, result, "fd", integer(env, socket.fd.release()));
    return result;
  } catch (const SetUpError& error) {
    return throwSetUpError(env, error);
  }
}

napi_value OpenWake(napi_env env, napi_callback_info) {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return throwSetUpError(env, {"eventfd", "wake", errno});
  return integer(env, fd);
}

napi_value SignalWake(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  const uint64_t one = 1;
  const ssize_t written = ::write(arguments.integer(0), &one, sizeof(one));
  return hotResult(env, written < 0 ? -errno : 0);
}

napi_value CloseFd(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  return hotResult(env, ::close(arguments.integer(0)) < 0 ? -errno : 0);
}

napi_value SteerUdpSockets(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  try {
    steerUdpSockets(arguments.integer(0), static_cast<uint32_t>(arguments.integer(1)));
  } catch (const SetUpError& error) {
    return throwSetUpError(env, error);
  }
  return nullptr;
}

napi_value SteerTunQueues(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  return boolean(env, steerTunQueues(arguments.integer(0), static_cast<uint32_t>(arguments.integer(1))));
}

napi_value UdpReceiveOverflow(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  return integer(env, udpReceiveOverflow(arguments.integer(0)));
}

napi_value InterfaceMtu(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  return hotResult(env, interfaceMtu(arguments.string(0)));
}

/// The words of one address, or null.
const int32_t* addressWords(napi_env env, napi_value value) {
  TypedArray words;
  if (!typedArray(env, value, napi_int32_array, &words) || words.length < ADDRESS_WORDS) return nullptr;
  return static_cast<const int32_t*>(words.data);
}

napi_value UdpPathMtu(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const int32_t* words = addressWords(env, arguments.at(1));
  return hotResult(env, words == nullptr ? -EINVAL : udpPathMtu(arguments.integer(0), words));
}

napi_value UdpSendProbe(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  const int32_t* words = addressWords(env, arguments.at(1));
  TypedArray bytes;
  if (words == nullptr || !typedArray(env, arguments.at(3), napi_uint8_array, &bytes)) return hotResult(env, -EINVAL);
  const uint16_t port = static_cast<uint16_t>(arguments.integer(2));
  const uint8_t* start = static_cast<const uint8_t*>(bytes.data);
  return hotResult(env, udpSendProbe(arguments.integer(0), words, port, start, bytes.length));
}

napi_value Notify(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  return hotResult(env, notify(arguments.string(0), arguments.string(1)));
}

// -------------------------------------------------------------------------------------------------------- lanes

constexpr uint32_t BURST_COLUMNS = 11;

/// Reads the columns of a burst, in the order of src/native.ts, and keeps a reference to each.
bool readBurst(napi_env env, napi_value columns, Burst* burst, std::vector<napi_ref>* references) {
  int32_t** const words[] = {&burst->offset, &burst->length,     &burst->segments, &burst->wireBytes,
                             &burst->source, &burst->outerClass, &burst->cut,      &burst->fate,
                             &burst->lost,   &burst->lostErrno};
  static_assert(std::size(words) + 1 == BURST_COLUMNS);
  for (uint32_t i = 0; i < BURST_COLUMNS; i++) {
    napi_value column;
    TypedArray array;
    if (napi_get_element(env, columns, i, &column) != napi_ok) return false;
    if (!typedArray(env, column, i == 0 ? napi_uint8_array : napi_int32_array, &array)) return false;
    if (i == 0) {
      burst->slab = static_cast<uint8_t*>(array.data);
      burst->slabBytes = array.length;
    } else {
      *words[i - 1] = static_cast<int32_t*>(array.data);
      const size_t wordsPerRow = words[i - 1] == &burst->source ? ADDRESS_WORDS : 1;
      if (i == 1) burst->rows = static_cast<uint32_t>(array.length);
      if (array.length != burst->rows * wordsPerRow) return false;
    }
    napi_ref reference;
    napi_create_reference(env, column, 1, &reference);
    references->push_back(reference);
  }
  return true;
}

void releaseReferences(napi_env env, AttachedLane& attached) {
  for (napi_ref reference : attached.columns) napi_delete_reference(env, reference);
  if (attached.endpoints != nullptr) napi_delete_reference(env, attached.endpoints);
  attached = AttachedLane{};
}

napi_value refuseLane(napi_env env, AttachedLane& attached, const char* why) {
  releaseReferences(env, attached);
  return throwRangeError(env, why);
}

napi_value AttachLane(napi_env env, napi_callback_info info) {
  const Arguments<7> arguments(env, info);
  AttachedLane attached;
  LaneOptions options{};
  options.tunFd = arguments.integer(0);
  options.udpFd = arguments.integer(1);
  options.wakeFd = arguments.integer(2);
  for (uint32_t i = 0; i < BURST_COUNT; i++) {
    napi_value columns;
    if (napi_get_element(env, arguments.at(3), i, &columns) != napi_ok ||
        !readBurst(env, columns, &options.bursts[i], &attached.columns)) {
      return refuseLane(env, attached, "attachLane: a burst's columns have the wrong types or unequal lengths");
    }
  }
  const Burst& inbound = options.bursts[BURST_INBOUND];
  if (inbound.slabBytes < UdpReceiver::SLAB_BYTES || inbound.rows != UdpReceiver::MAX_DATAGRAMS) {
    return refuseLane(env, attached,
                      "attachLane: the inbound burst does not have the size of one receive (see layout)");
  }
  TypedArray report;
  if (!typedArray(env, arguments.at(4), napi_int32_array, &report) || report.length < REPORT_WORDS) {
    return refuseLane(env, attached, "attachLane: report must be an Int32Array of REPORT_WORDS");
  }
  napi_ref reference;
  napi_create_reference(env, arguments.at(4), 1, &reference);
  attached.columns.push_back(reference);
  options.report = static_cast<int32_t*>(report.data);
  options.coalesceKinds = static_cast<uint32_t>(arguments.integer(5));
  options.gso = arguments.boolean(6);
  attached.lane = std::make_unique<Lane>(options);

  std::vector<AttachedLane>& lanes = environmentOf(env)->lanes;
  size_t handle = 0;
  while (handle < lanes.size() && lanes[handle].lane) handle++;
  if (handle == lanes.size()) lanes.emplace_back();
  lanes[handle] = std::move(attached);
  return integer(env, static_cast<int64_t>(handle));
}

AttachedLane* attachedLane(napi_env env, int32_t handle) {
  std::vector<AttachedLane>& lanes = environmentOf(env)->lanes;
  const size_t index = static_cast<size_t>(handle);
  return handle >= 0 && index < lanes.size() && lanes[index].lane ? &lanes[index] : nullptr;
}

napi_value DetachLane(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  AttachedLane* attached = attachedLane(env, arguments.integer(0));
  if (attached == nullptr) return hotResult(env, -EBADF);
  releaseReferences(env, *attached);
  return hotResult(env, 0);
}

napi_value SetEndpoints(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  AttachedLane* attached = attachedLane(env, arguments.integer(0));
  TypedArray words;
  if (attached == nullptr || !typedArray(env, arguments.at(1), napi_int32_array, &words)) {
    return hotResult(env, -EINVAL);
  }
  const Endpoints endpoints = {static_cast<const int32_t*>(words.data),
                               static_cast<uint32_t>(words.length / ENDPOINT_WORDS)};
  if (!attached->lane->setEndpoints(endpoints)) return hotResult(env, -EBUSY);
  napi_ref reference;
  napi_create_reference(env, arguments.at(1), 1, &reference);
  if (attached->endpoints != nullptr) napi_delete_reference(env, attached->endpoints);
  attached->endpoints = reference;
  return hotResult(env, 0);
}

/// A hot call on a lane: handle and up to two integers in, one integer out.
template <int (*Call)(Lane&, int32_t, int32_t)>
napi_value LaneCall(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  AttachedLane* attached = attachedLane(env, arguments.integer(0));
  if (attached == nullptr) return hotResult(env, -EBADF);
  return hotResult(env, Call(*attached->lane, arguments.integer(1), arguments.integer(2)));
}

uint32_t bounded(int32_t count) { return count < 0 ? 0 : static_cast<uint32_t>(count); }
bool isBurst(int32_t index) { return index >= 0 && index < static_cast<int32_t>(BURST_COUNT); }

int callPoll(Lane& lane, int32_t timeoutMillis, int32_t) { return lane.poll(timeoutMillis); }
int callWaitWritable(Lane& lane, int32_t timeoutMillis, int32_t) { return lane.waitWritable(timeoutMillis); }
int callTunRecv(Lane& lane, int32_t maxRows, int32_t) { return lane.tunRecv(bounded(maxRows)); }
int callUdpRecv(Lane& lane, int32_t, int32_t) { return lane.udpRecv(); }
int callUdpResume(Lane& lane, int32_t, int32_t) { return lane.udpResume(); }
int callUdpAbandon(Lane& lane, int32_t, int32_t) { return lane.udpAbandon(); }
int callTunSend(Lane& lane, int32_t burst, int32_t count) {
  return isBurst(burst) ? lane.tunSend(static_cast<uint32_t>(burst), bounded(count)) : -EINVAL;
}
int callUdpSend(Lane& lane, int32_t burst, int32_t count) {
  return isBurst(burst) ? lane.udpSend(static_cast<uint32_t>(burst), bounded(count)) : -EINVAL;
}

// -------------------------------------------------------------------------------------------------- peer filter

/// What an external value of TypeScript points to; empty once closed.
struct OpenedPeerFilter {
  std::unique_ptr<PeerFilter> filter;
};

OpenedPeerFilter* openedPeerFilter(napi_env env, napi_value value) {
  void* data = nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<OpenedPeerFilter*>(data) : nullptr;
}

napi_value OpenPeerFilter(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  TypedArray fds;
  if (!typedArray(env, arguments.at(1), napi_int32_array, &fds)) {
    return throwRangeError(env, "openPeerFilter: fds must be an Int32Array");
  }
  const int32_t* first = static_cast<const int32_t*>(fds.data);
  try {
    auto opened = std::make_unique<OpenedPeerFilter>();
    opened->filter = PeerFilter::open(arguments.integer(0) == 6 ? AF_INET6 : AF_INET, {first, first + fds.length});
    napi_value result = nullptr;
    const auto finalize = [](napi_env, void* data, void*) { delete static_cast<OpenedPeerFilter*>(data); };
    if (napi_create_external(env, opened.get(), finalize, nullptr, &result) != napi_ok) return nullptr;
    opened.release();  // the external value owns it
    return result;
  } catch (const SetUpError& error) {
    return throwSetUpError(env, error);
  }
}

/// A call that takes rows of endpoints: handle and rows in, 0 or -errno out.
template <int (PeerFilter::*Call)(const int32_t*, size_t)>
napi_value PeerFilterChange(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  OpenedPeerFilter* opened = openedPeerFilter(env, arguments.at(0));
  if (opened == nullptr || !opened->filter) return hotResult(env, -EBADF);
  TypedArray rows;
  if (!typedArray(env, arguments.at(1), napi_int32_array, &rows)) return hotResult(env, -EINVAL);
  return hotResult(
      env, (opened->filter.get()->*Call)(static_cast<const int32_t*>(rows.data), rows.length / PeerFilter::ROW_WORDS));
}

napi_value PeerFilterRefused(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  OpenedPeerFilter* opened = openedPeerFilter(env, arguments.at(0));
  if (opened == nullptr || !opened->filter) return hotResult(env, -EBADF);
  TypedArray counts;
  TypedArray source;
  Refused refused{};
  if (!typedArray(env, arguments.at(1), napi_float64_array, &counts) || counts.length < 2 ||
      !typedArray(env, arguments.at(2), napi_int32_array, &source) || source.length < std::size(refused.lastSource)) {
    return hotResult(env, -EINVAL);
  }
  const int result = opened->filter->refused(&refused);
  if (result == 0) {
    static_cast<double*>(counts.data)[0] = static_cast<double>(refused.datagrams);
    static_cast<double*>(counts.data)[1] = static_cast<double>(refused.drops);
    std::memcpy(source.data, refused.lastSource, sizeof(refused.lastSource));
  }
  return hotResult(env, result);
}

napi_value ClosePeerFilter(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  OpenedPeerFilter* opened = openedPeerFilter(env, arguments.at(0));
  if (opened == nullptr || !opened->filter) return hotResult(env, -EBADF);
  opened->filter.reset();
  return hotResult(env, 0);
}

// --------------------------------------------------------------------------------------------- tests and benches

napi_value Checksum(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  TypedArray bytes;
  const int64_t at = arguments.integer(1);
  const int64_t count = arguments.integer(2);
  if (!typedArray(env, arguments.at(0), napi_uint8_array, &bytes) || at < 0 || count < 0 ||
      at + count > static_cast<int64_t>(bytes.length)) {
    return throwRangeError(env, "checksum: the range lies outside the bytes");
  }
  const uint64_t sum = checksumSum(static_cast<const uint8_t*>(bytes.data) + at, static_cast<size_t>(count), 0);
  return hotResult(env, static_cast<uint16_t>(~foldChecksum(sum)));
}

napi_value Crossing(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  return hotResult(env, arguments.integer(0));
}

napi_value layout(napi_env env) {
  const struct {
    const char* name;
    int64_t value;
  } values[] = {
      {"inboundSlabBytes", static_cast<int64_t>(UdpReceiver::SLAB_BYTES)},
      {"inboundRows", UdpReceiver::MAX_DATAGRAMS},
      {"headroomBytes", TUN_HEADROOM_BYTES},
      {"vnetHeaderBytes", sizeof(VnetHeader)},
      {"reportWords", REPORT_WORDS},
      {"burstCount", BURST_COUNT},
      {"burstColumns", BURST_COLUMNS},
  };
  napi_value result = object(env);
  for (const auto& entry : values) set(env, result, entry.name, integer(env, entry.value));
  return result;
}

const char* activeChecksumKernel() {
  size_t count;
  const ChecksumKernel* kernels = checksumKernels(&count);
  for (size_t i = 0; i < count; i++) {
    if (kernels[i].available()) return kernels[i].name;
  }
  return "none";
}

}  // namespace

napi_value init(napi_env env, napi_value exports) {
  napi_set_instance_data(
      env, new Environment, [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); }, nullptr);
  const struct {
    const char* name;
    napi_callback callback;
  } functions[] = {
      {"openTun", OpenTun},
      {"openUdp", OpenUdp},
      {"openWake", OpenWake},
      {"signalWake", SignalWake},
      {"closeFd", CloseFd},
      {"steerUdpSockets", SteerUdpSockets},
      {"steerTunQueues", SteerTunQueues},
      {"udpReceiveOverflow", UdpReceiveOverflow},
      {"interfaceMtu", InterfaceMtu},
      {"udpPathMtu", UdpPathMtu},
      {"udpSendProbe", UdpSendProbe},
      {"notify", Notify},
      {"attachLane", AttachLane},
      {"detachLane", DetachLane},
      {"setEndpoints", SetEndpoints},
      {"poll", LaneCall<callPoll>},
      {"waitWritable", LaneCall<callWaitWritable>},
      {"tunRecv", LaneCall<callTunRecv>},
      {"tunSend", LaneCall<callTunSend>},
      {"udpRecv", LaneCall<callUdpRecv>},
      {"udpSend", LaneCall<callUdpSend>},
      {"udpResume", LaneCall<callUdpResume>},
      {"udpAbandon", LaneCall<callUdpAbandon>},
      {"openPeerFilter", OpenPeerFilter},
      {"admitPeers", PeerFilterChange<&PeerFilter::admit>},
      {"retainPeers", PeerFilterChange<&PeerFilter::retain>},
      {"peerFilterRefused", PeerFilterRefused},
      {"closePeerFilter", ClosePeerFilter},
      {"checksum", Checksum},
      {"crossing", Crossing},
  };
  for (const auto& function : functions) {
    napi_value value;
    napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback, nullptr, &value);
    set(env, exports, function.name, value);
  }
  set(env, exports, "layout", layout(env));
  set(env, exports, "checksumKernel", text(env, activeChecksumKernel()));
  return exports;
}

}  // namespace selvage

NAPI_MODULE(NODE_GYP_MODULE_NAME, selvage::init)
