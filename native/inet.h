// Network byte order over bytes, and where the fields of IPv4, IPv6, TCP and UDP headers lie that native code reads or
// writes. The layouts are drawn in src/encap/ipv4_header.ts. Callers have checked that the bytes are there.
// Pure: no system call, no Node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace selvage {

constexpr uint8_t PROTOCOL_TCP = 6;
constexpr uint8_t PROTOCOL_UDP = 17;

// IPv4, RFC 791 section 3.1
constexpr uint32_t IPV4_TOTAL_LENGTH = 2;
constexpr uint32_t IPV4_IDENTIFICATION = 4;
constexpr uint32_t IPV4_FRAGMENT = 6;
constexpr uint32_t IPV4_PROTOCOL = 9;
constexpr uint32_t IPV4_CHECKSUM = 10;
constexpr uint32_t IPV4_ADDRESSES = 12;
constexpr uint32_t IPV4_ADDRESS_BYTES = 8;  // source and destination
constexpr uint32_t IPV4_MIN_BYTES = 20;
constexpr uint16_t IPV4_DONT_FRAGMENT = 0x4000;
constexpr uint16_t IPV4_MORE_FRAGMENTS = 0x2000;
constexpr uint16_t IPV4_FRAGMENT_OFFSET = 0x1fff;  // in units of 8 bytes
constexpr uint16_t IPV4_IS_FRAGMENT = IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET;
constexpr uint8_t IPV4_OPTION_END = 0;
constexpr uint8_t IPV4_OPTION_NO_OPERATION = 1;
constexpr uint8_t IPV4_OPTION_COPIED = 0x80;

// IPv6, RFC 8200 section 3
constexpr uint32_t IPV6_PAYLOAD_LENGTH = 4;
constexpr uint32_t IPV6_NEXT_HEADER = 6;
constexpr uint32_t IPV6_ADDRESSES = 8;
constexpr uint32_t IPV6_ADDRESS_BYTES = 32;  // source and destination
constexpr uint32_t IPV6_BYTES = 40;

// TCP, RFC 9293 section 3.1
constexpr uint32_t TCP_SEQUENCE = 4;
constexpr uint32_t TCP_ACKNOWLEDGMENT = 8;
constexpr uint32_t TCP_DATA_OFFSET = 12;
constexpr uint32_t TCP_FLAGS = 13;
constexpr uint32_t TCP_CHECKSUM = 16;
constexpr uint32_t TCP_URGENT = 18;
constexpr uint32_t TCP_MIN_BYTES = 20;
constexpr uint32_t TCP_MAX_BYTES = 60;
constexpr uint8_t TCP_FIN = 0x01;
constexpr uint8_t TCP_PSH = 0x08;
constexpr uint8_t TCP_ACK = 0x10;
constexpr uint8_t TCP_CWR = 0x80;

// UDP, RFC 768
constexpr uint32_t UDP_LENGTH = 4;
constexpr uint32_t UDP_CHECKSUM = 6;
constexpr uint32_t UDP_BYTES = 8;

inline uint16_t load16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]); }

inline uint32_t load32(const uint8_t* bytes) { return static_cast<uint32_t>(load16(bytes)) << 16 | load16(bytes + 2); }

inline void store16(uint8_t* bytes, uint32_t value) {
  bytes[0] = static_cast<uint8_t>(value >> 8);
  bytes[1] = static_cast<uint8_t>(value);
}

inline void store32(uint8_t* bytes, uint32_t value) {
  store16(bytes, value >> 16);
  store16(bytes + 2, value);
}

/// Eight bytes in host order, from any address: to compare or to hash, never to compute with.
inline uint64_t rawLoad64(const uint8_t* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

/// Four bytes in host order, from any address.
inline uint32_t rawLoad32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

}  // namespace selvage
