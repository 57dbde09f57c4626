// One IP packet as a struct of plain fields, and its bytes: written and read one field at a time, from the RFCs' header
// drawings and not from native/inet.h, so that the two can disagree.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "checksum.h"

namespace reference {

using Bytes = std::vector<uint8_t>;

constexpr uint8_t FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10, URG = 0x20, ECE = 0x40, CWR = 0x80;

/// An unfragmented TCP or UDP packet. Lengths and checksums are not here: they follow from the rest.
struct Packet {
  bool ipv6 = false;
  bool tcp = true;
  std::array<uint8_t, 16> source = {};       // of IPv4 the first four bytes
  std::array<uint8_t, 16> destination = {};  // likewise
  uint8_t trafficClass = 0;                  // IPv4: TOS
  uint8_t hopLimit = 64;                     // IPv4: TTL
  uint32_t flowLabel = 0;                    // IPv6, 20 bits
  uint16_t identification = 0;               // IPv4
  bool dontFragment = true;                  // IPv4
  Bytes ipOptions;                           // IPv4, a multiple of four bytes, up to 40
  std::vector<uint8_t> extensions;           // IPv6 types of extension headers; each is padded options of 8 bytes
  uint16_t sourcePort = 0;
  uint16_t destinationPort = 0;
  uint32_t sequence = 0;  // TCP, as the fields below
  uint32_t acknowledgment = 0;
  uint8_t reserved = 0;  // low four bits beside the data offset
  uint8_t flags = ACK;
  uint16_t window = 0;
  uint16_t urgent = 0;
  Bytes tcpOptions;  // a multiple of four bytes, up to 40
  Bytes payload;
};

inline void put8(Bytes& out, unsigned value) { out.push_back(static_cast<uint8_t>(value)); }
inline void put16(Bytes& out, unsigned value) {
  put8(out, value >> 8 & 0xff);
  put8(out, value & 0xff);
}
inline void put32(Bytes& out, uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}
inline void append(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }
inline void set16(Bytes& bytes, size_t at, unsigned value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}
inline unsigned get16(const Bytes& bytes, size_t at) { return static_cast<unsigned>(bytes[at]) << 8 | bytes[at + 1]; }
inline uint32_t get32(const Bytes& bytes, size_t at) {
  return static_cast<uint32_t>(get16(bytes, at)) << 16 | get16(bytes, at + 2);
}

inline size_t ipHeaderBytes(const Packet& packet) {
  return packet.ipv6 ? 40 + 8 * packet.extensions.size() : 20 + packet.ipOptions.size();
}
inline size_t headerBytes(const Packet& packet) {
  return ipHeaderBytes(packet) + (packet.tcp ? 20 + packet.tcpOptions.size() : 8);
}
/// Where the transport checksum lies, from the packet's start.
inline size_t checksumAt(const Packet& packet) { return ipHeaderBytes(packet) + (packet.tcp ? 16 : 6); }

/// The pseudo-header, spelled out.
inline Bytes pseudoHeader(const Packet& packet, size_t transportBytes) {
  const std::ptrdiff_t addressBytes = packet.ipv6 ? 16 : 4;
  Bytes out(packet.source.begin(), packet.source.begin() + addressBytes);
  out.insert(out.end(), packet.destination.begin(), packet.destination.begin() + addressBytes);
  put32(out, static_cast<uint32_t>(transportBytes));
  put32(out, packet.tcp ? 6 : 17);
  return out;
}

inline Bytes buildTransport(const Packet& packet) {
  Bytes out;
  out.reserve(60 + packet.payload.size());
  put16(out, packet.sourcePort);
  put16(out, packet.destinationPort);
  if (packet.tcp) {
    put32(out, packet.sequence);
    put32(out, packet.acknowledgment);
    put8(out, static_cast<unsigned>((20 + packet.tcpOptions.size()) / 4 << 4) | packet.reserved);
    put8(out, packet.flags);
    put16(out, packet.window);
    put16(out, 0);
    put16(out, packet.urgent);
    append(out, packet.tcpOptions);
  } else {
    put16(out, static_cast<unsigned>(8 + packet.payload.size()) & 0xffff);
    put16(out, 0);
  }
  append(out, packet.payload);
  return out;
}

inline Bytes buildIpv4(const Packet& packet, size_t transportBytes) {
  Bytes out;
  out.reserve(60 + transportBytes);
  put8(out, static_cast<unsigned>(0x40 | (20 + packet.ipOptions.size()) / 4));
  put8(out, packet.trafficClass);
  put16(out, static_cast<unsigned>(ipHeaderBytes(packet) + transportBytes) & 0xffff);
  put16(out, packet.identification);
  put16(out, packet.dontFragment ? 0x4000 : 0);
  put8(out, packet.hopLimit);
  put8(out, packet.tcp ? 6 : 17);
  put16(out, 0);
  out.insert(out.end(), packet.source.begin(), packet.source.begin() + 4);
  out.insert(out.end(), packet.destination.begin(), packet.destination.begin() + 4);
  append(out, packet.ipOptions);
  set16(out, 10, 0xffffu - checksum(out.data(), out.size()));
  return out;
}

inline Bytes buildIpv6(const Packet& packet, size_t transportBytes) {
  Bytes out;
  out.reserve(60 + transportBytes);
  put32(out, 6u << 28 | static_cast<uint32_t>(packet.trafficClass) << 20 | packet.flowLabel);
  put16(out, static_cast<unsigned>(8 * packet.extensions.size() + transportBytes) & 0xffff);
  const unsigned protocol = packet.tcp ? 6 : 17;
  put8(out, packet.extensions.empty() ? protocol : packet.extensions[0]);
  put8(out, packet.hopLimit);
  out.insert(out.end(), packet.source.begin(), packet.source.end());
  out.insert(out.end(), packet.destination.begin(), packet.destination.end());
  for (size_t i = 0; i < packet.extensions.size(); i++) {
    put8(out, i + 1 < packet.extensions.size() ? packet.extensions[i + 1] : protocol);
    put8(out, 0);        // 8 bytes
    put16(out, 0x0102);  // PadN of 2, or a routing header's type and segments left...
    if (packet.extensions[i] == 43) out[out.size() - 1] = 0;  // ...which are used up
    put32(out, 0x01020000);
  }
  return out;
}

/// The packet's bytes, with right lengths and checksums. Lengths that do not fit into 16 bits are cut off.
inline Bytes build(const Packet& packet) {
  Bytes transport = buildTransport(packet);
  Bytes out = packet.ipv6 ? buildIpv6(packet, transport.size()) : buildIpv4(packet, transport.size());
  const Bytes pseudo = pseudoHeader(packet, transport.size());
  const unsigned sum = checksum(transport.data(), transport.size(), checksum(pseudo.data(), pseudo.size()));
  const bool zero = !packet.tcp && sum == 0xffff;  // RFC 768: transmitted as all ones
  append(out, transport);
  set16(out, checksumAt(packet), zero ? 0xffff : 0xffff - sum);
  return out;
}

/// The packet's bytes as the kernel hands a superframe to TUN: only the pseudo-header summed, not complemented.
inline Bytes buildPartial(const Packet& packet) {
  Bytes out = build(packet);
  const Bytes pseudo = pseudoHeader(packet, out.size() - ipHeaderBytes(packet));
  set16(out, checksumAt(packet), checksum(pseudo.data(), pseudo.size()));
  return out;
}

/// What reading a packet came to.
enum class Shape {
  NO_IP,     // too short for an IP header, or of no known version
  NO_PORTS,  // an IP header whose TCP or UDP header cannot be read
  ODD,       // ports can be read; lengths or header do not agree, or there is nothing to join: see `packet`
  REGULAR,   // all of `packet` is filled
};

struct Reading {
  Shape shape = Shape::NO_IP;
  Packet packet;  // as far as it could be read
  bool checksumsRight = false;
  bool udpWithoutChecksum = false;
};

inline bool transportChecksumRight(const Packet& packet, const Bytes& bytes) {
  const size_t start = ipHeaderBytes(packet);
  const Bytes pseudo = pseudoHeader(packet, bytes.size() - start);
  const uint16_t initial = checksum(pseudo.data(), pseudo.size());
  return checksum(bytes.data() + start, bytes.size() - start, initial) == 0xffff;
}

inline Shape readIpv4(const Bytes& bytes, Packet& packet) {
  packet.trafficClass = bytes[1];
  packet.identification = static_cast<uint16_t>(get16(bytes, 4));
  packet.dontFragment = (bytes[6] & 0x40) != 0;
  packet.hopLimit = bytes[8];
  packet.tcp = bytes[9] == 6;
  for (size_t i = 0; i < 4; i++) packet.source[i] = bytes[12 + i];
  for (size_t i = 0; i < 4; i++) packet.destination[i] = bytes[16 + i];
  const bool optionless = bytes[0] == 0x45;
  const bool whole = (bytes[6] & 0xbf) == 0 && bytes[7] == 0;  // reserved bit, more fragments, offset
  const bool known = bytes[9] == 6 || bytes[9] == 17;
  return optionless && whole && known && get16(bytes, 2) == bytes.size() ? Shape::REGULAR : Shape::NO_PORTS;
}

inline Shape readIpv6(const Bytes& bytes, Packet& packet) {
  packet.trafficClass = static_cast<uint8_t>((bytes[0] & 0x0f) << 4 | bytes[1] >> 4);
  packet.flowLabel = get32(bytes, 0) & 0xfffff;
  packet.hopLimit = bytes[7];
  packet.tcp = bytes[6] == 6;
  for (size_t i = 0; i < 16; i++) packet.source[i] = bytes[8 + i];
  for (size_t i = 0; i < 16; i++) packet.destination[i] = bytes[24 + i];
  const bool known = bytes[6] == 6 || bytes[6] == 17;
  return known && get16(bytes, 4) + 40 == bytes.size() ? Shape::REGULAR : Shape::NO_PORTS;
}

inline Shape readTcp(const Bytes& bytes, size_t start, Packet& packet) {
  packet.sequence = get32(bytes, start + 4);
  packet.acknowledgment = get32(bytes, start + 8);
  packet.reserved = bytes[start + 12] & 0x0f;
  packet.flags = bytes[start + 13];
  packet.window = static_cast<uint16_t>(get16(bytes, start + 14));
  packet.urgent = static_cast<uint16_t>(get16(bytes, start + 18));
  const size_t header = static_cast<size_t>(bytes[start + 12] >> 4) * 4;
  if (header < 20 || start + header > bytes.size()) return Shape::ODD;
  packet.tcpOptions.assign(bytes.begin() + static_cast<std::ptrdiff_t>(start + 20),
                           bytes.begin() + static_cast<std::ptrdiff_t>(start + header));
  packet.payload.assign(bytes.begin() + static_cast<std::ptrdiff_t>(start + header), bytes.end());
  return Shape::REGULAR;
}

inline Shape readUdp(const Bytes& bytes, size_t start, Packet& packet) {
  if (get16(bytes, start + 4) != bytes.size() - start) return Shape::ODD;
  packet.payload.assign(bytes.begin() + static_cast<std::ptrdiff_t>(start + 8), bytes.end());
  return Shape::REGULAR;
}

/// Reads a packet without options and extension headers.
inline Reading read(const Bytes& bytes) {
  Reading reading;
  Packet& packet = reading.packet;
  if (bytes.size() < 20) return reading;
  const unsigned version = bytes[0] >> 4;
  if (version != 4 && !(version == 6 && bytes.size() >= 40)) return reading;
  packet.ipv6 = version == 6;
  reading.shape = packet.ipv6 ? readIpv6(bytes, packet) : readIpv4(bytes, packet);
  const size_t start = packet.ipv6 ? 40 : 20;
  if (bytes.size() < start + (packet.tcp ? 20 : 8)) reading.shape = Shape::NO_PORTS;
  if (reading.shape == Shape::NO_PORTS) return reading;
  packet.sourcePort = static_cast<uint16_t>(get16(bytes, start));
  packet.destinationPort = static_cast<uint16_t>(get16(bytes, start + 2));
  reading.shape = packet.tcp ? readTcp(bytes, start, packet) : readUdp(bytes, start, packet);
  if (reading.shape != Shape::REGULAR) return reading;
  reading.udpWithoutChecksum = !packet.tcp && get16(bytes, start + 6) == 0;
  reading.checksumsRight =
      transportChecksumRight(packet, bytes) && (packet.ipv6 || checksum(bytes.data(), 20) == 0xffff);
  return reading;
}

}  // namespace reference
