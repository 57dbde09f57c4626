import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';

import fc from 'fast-check';
import t from 'tap';

import { fieldOffset } from '../../src/field_offset.js';
import * as icmp from '../../src/encap/icmp_header.js';
import * as icmpv6 from '../../src/encap/icmpv6_header.js';
import * as ipv4 from '../../src/encap/ipv4_header.js';
import * as ipv6 from '../../src/encap/ipv6_header.js';
import { ECHO_LAYOUT } from '../../src/encap/icmp_echo.js';
import { trafficClassOf } from '../../src/encap/traffic_class.js';
import * as vnet from '../reference/vnet_header.js';
import { TEST_SEED } from './test_seed.js';

t.test('offsets are those of the standards', (t) => {
  t.same(
    [
      ipv4.IPV4_OFFSET_VERSION_IHL,
      ipv4.IPV4_OFFSET_TOS,
      ipv4.IPV4_OFFSET_TOTAL_BYTES,
      ipv4.IPV4_OFFSET_IDENTIFICATION,
      ipv4.IPV4_OFFSET_FRAGMENT,
      ipv4.IPV4_OFFSET_TTL,
      ipv4.IPV4_OFFSET_PROTOCOL,
      ipv4.IPV4_OFFSET_CHECKSUM,
      ipv4.IPV4_OFFSET_SOURCE,
      ipv4.IPV4_OFFSET_DESTINATION,
      ipv4.IPV4_MIN_HEADER_BYTES,
    ],
    [0, 1, 2, 4, 6, 8, 9, 10, 12, 16, 20],
    'IPv4, RFC 791 section 3.1',
  );
  t.same(
    [
      icmp.ICMP_OFFSET_TYPE,
      icmp.ICMP_OFFSET_CODE,
      icmp.ICMP_OFFSET_CHECKSUM,
      icmp.ICMP_OFFSET_UNUSED,
      icmp.ICMP_OFFSET_NEXT_HOP_MTU,
      icmp.ICMP_HEADER_BYTES,
    ],
    [0, 1, 2, 4, 6, 8],
    'ICMP, RFC 792 and RFC 1191',
  );
  t.same(
    [
      ipv6.IPV6_OFFSET_VERSION_CLASS_FLOW,
      ipv6.IPV6_OFFSET_PAYLOAD_BYTES,
      ipv6.IPV6_OFFSET_NEXT_HEADER,
      ipv6.IPV6_OFFSET_HOP_LIMIT,
      ipv6.IPV6_OFFSET_SOURCE,
      ipv6.IPV6_OFFSET_DESTINATION,
      ipv6.IPV6_HEADER_BYTES,
      ipv6.IPV6_ADDRESS_BYTES,
    ],
    [0, 4, 6, 7, 8, 24, 40, 16],
    'IPv6, RFC 8200 section 3',
  );
  t.same(
    [
      icmpv6.ICMPV6_OFFSET_TYPE,
      icmpv6.ICMPV6_OFFSET_CODE,
      icmpv6.ICMPV6_OFFSET_CHECKSUM,
      icmpv6.ICMPV6_OFFSET_MTU,
      icmpv6.ICMPV6_HEADER_BYTES,
    ],
    [0, 1, 2, 4, 8],
    'ICMPv6, RFC 4443 section 2.1',
  );
  t.same(
    [
      fieldOffset(ECHO_LAYOUT, 'type'),
      fieldOffset(ECHO_LAYOUT, 'code'),
      fieldOffset(ECHO_LAYOUT, 'checksum'),
      fieldOffset(ECHO_LAYOUT, 'identifier'),
      fieldOffset(ECHO_LAYOUT, 'sequence'),
      ECHO_LAYOUT.span,
    ],
    [0, 1, 2, 4, 6, 8],
    'echo, RFC 792 and RFC 4443 section 4.1',
  );
  t.same(
    [
      vnet.VNET_OFFSET_FLAGS,
      vnet.VNET_OFFSET_GSO_TYPE,
      vnet.VNET_OFFSET_HEADER_BYTES,
      vnet.VNET_OFFSET_GSO_BYTES,
      vnet.VNET_OFFSET_CSUM_START,
      vnet.VNET_OFFSET_CSUM_OFFSET,
      vnet.VNET_HEADER_BYTES,
    ],
    [0, 1, 2, 4, 6, 8, 10],
    'virtio-net, Linux include/uapi/linux/virtio_net.h',
  );
  t.end();
});

t.test('a field that a layout does not have is refused when a header file loads', (t) => {
  t.throws(() => fieldOffset(ipv4.IPV4_LAYOUT, 'flowLabel' as 'ttl'), /no field flowLabel/);
  t.end();
});

/** Any bytes, at any place in memory. */
const bytesAnywhere = fc.tuple(fc.uint8Array({ minLength: 60, maxLength: 60 }), fc.nat(20));

t.test(`accessors read what the layouts decode, on any bytes (TEST_SEED=${TEST_SEED})`, (t) => {
  fc.assert(
    fc.property(bytesAnywhere, ([bytes, at]) => {
      const fields = ipv4.IPV4_LAYOUT.decode(Buffer.from(bytes), at);
      assert.equal(ipv4.ipVersion(bytes, at), fields.versionIhl >> 4);
      assert.equal(ipv4.ipv4HeaderBytes(bytes, at), (fields.versionIhl & 15) * 4);
      assert.equal(ipv4.ipv4TotalBytes(bytes, at), fields.totalBytes);
      assert.equal(ipv4.ipv4Fragment(bytes, at), fields.fragment);
      assert.equal(ipv4.ipv4Ttl(bytes, at), fields.ttl);
      assert.equal(ipv4.ipv4Protocol(bytes, at), fields.protocol);
      assert.equal(ipv4.ipv4Source(bytes, at), fields.source);
      assert.equal(ipv4.ipv4Destination(bytes, at), fields.destination);
      assert.equal(icmp.icmpType(bytes, at), icmp.ICMP_LAYOUT.decode(Buffer.from(bytes), at).type);
      const six = ipv6.IPV6_LAYOUT.decode(Buffer.from(bytes), at);
      assert.equal(ipv6.ipv6PayloadBytes(bytes, at), six.payloadBytes);
      assert.equal(ipv6.ipv6TotalBytes(bytes, at), 40 + six.payloadBytes);
      assert.equal(ipv6.ipv6NextHeader(bytes, at), six.nextHeader);
      assert.equal(ipv6.ipv6HopLimit(bytes, at), six.hopLimit);
      const isIpv4 = fields.versionIhl >> 4 === 4;
      const trafficClass = isIpv4 ? fields.tos : (six.versionClassFlow >>> 20) & 255;
      assert.equal(trafficClassOf(bytes, at), trafficClass);
      assert.equal(icmpv6.icmpv6Type(bytes, at), icmpv6.ICMPV6_LAYOUT.decode(Buffer.from(bytes), at).type);
      const header = vnet.VNET_LAYOUT.decode(Buffer.from(bytes), at);
      assert.equal(vnet.vnetFlags(bytes, at), header.flags);
      assert.equal(vnet.vnetGsoType(bytes, at), header.gsoType);
      assert.equal(vnet.vnetHeaderBytes(bytes, at), header.headerBytes);
      assert.equal(vnet.vnetGsoBytes(bytes, at), header.gsoBytes);
      assert.equal(vnet.vnetCsumStart(bytes, at), header.csumStart);
      assert.equal(vnet.vnetCsumOffset(bytes, at), header.csumOffset);
    }),
    { seed: TEST_SEED, numRuns: 50 },
  );
  t.pass('no counterexample');
  t.end();
});

t.test(`a virtio-net header is written as the layout encodes it (TEST_SEED=${TEST_SEED})`, (t) => {
  fc.assert(
    fc.property(bytesAnywhere, ([bytes, at]) => {
      const header = vnet.VNET_LAYOUT.decode(Buffer.from(bytes), at);
      const ours = new Uint8Array(60);
      vnet.putVnetHeader(ours, at, header);
      const theirs = Buffer.alloc(60);
      vnet.VNET_LAYOUT.encode(header, theirs, at);
      assert.equal(Buffer.compare(theirs, ours), 0);
    }),
    { seed: TEST_SEED, numRuns: 50 },
  );
  t.pass('no counterexample');
  t.end();
});

t.test('a query may be answered with an error, an error or an unknown type may not', (t) => {
  const queries = Array.from({ length: 256 }, (_, type) => type).filter(icmp.isIcmpQuery);
  t.same(queries, [0, 8, 9, 10, 13, 14, 15, 16, 17, 18]);
  t.end();
});

t.test(
  'ICMPv6: an informational message may be answered with an error, an error or a redirect may not',
  (t) => {
    const answered = Array.from({ length: 256 }, (_, type) => type).filter(icmpv6.isIcmpv6Informational);
    t.same(
      answered,
      Array.from({ length: 128 }, (_, i) => 128 + i).filter((type) => type !== 137),
    );
    t.end();
  },
);
