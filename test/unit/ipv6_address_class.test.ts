import assert from 'node:assert/strict';

import fc from 'fast-check';
import t from 'tap';

import { DropReason, dropReasonName } from '../../src/encap/drop_reason.js';
import {
  classifyIpv6Addresses,
  isMulticastIpv6,
  isRoutableUnicastIpv6,
} from '../../src/encap/ipv6_address_class.js';
import { referenceIpv6Addresses } from '../reference/ipv6_class.js';
import { innerIpv6Frame } from './inner_ipv6_frame.js';
import { TEST_SEED } from './test_seed.js';

const { martian, notUnicast } = DropReason;
const HOST = '2001:db8:1::2';

function verdict(source: string, destination: string, at = 5): number {
  const frame = innerIpv6Frame({ source, destination });
  const slab = new Uint8Array(at + frame.length).fill(0xff);
  slab.set(frame, at);
  return classifyIpv6Addresses(slab, at);
}

function bytesOf(address: string): Uint8Array {
  return innerIpv6Frame({ source: address }).slice(8, 24);
}

const rows: readonly {
  name: string;
  addresses: readonly string[];
  asSource: number;
  asDestination: number;
}[] = [
  {
    name: 'unicast passes, unique local and site-local too',
    addresses: [
      '2001:db8::1',
      'fd00:1:1::2',
      'fc00::',
      'fec0::1',
      '64:ff9b::a01:102',
      '::2',
      '::1:0',
      '::1:ffff:10.1.1.2',
      '0:1::',
      '0:0:1::1',
      '::fffe:0:0',
      '::1:0:0:0:1',
      'fe7f:ffff::1',
    ],
    asSource: 0,
    asDestination: 0,
  },
  {
    name: 'the unspecified address is nobody, loopback stays in its host',
    addresses: ['::', '::1'],
    asSource: martian,
    asDestination: martian,
  },
  {
    name: 'link-local stays on its link',
    addresses: ['fe80::', 'fe80::1', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    asSource: martian,
    asDestination: martian,
  },
  {
    name: 'IPv4-mapped is on no wire: no way around the rules for IPv4',
    addresses: ['::ffff:0:0', '::ffff:127.0.0.1', '::ffff:10.1.1.2', '::ffff:255.255.255.255'],
    asSource: martian,
    asDestination: martian,
  },
  {
    name: 'multicast of any scope is a destination, never a source',
    addresses: ['ff00::', 'ff01::1', 'ff02::2', 'ff0e::1', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    asSource: martian,
    asDestination: notUnicast,
  },
];

for (const { name, addresses, asSource, asDestination } of rows) {
  t.test(name, (t) => {
    for (const text of addresses) {
      t.equal(verdict(text, HOST), -asSource, `${text} as a source`);
      t.equal(verdict(HOST, text), -asDestination, `${text} as a destination`);
      t.equal(isRoutableUnicastIpv6(bytesOf(text), 0), asSource === 0, `${text} as a host`);
      t.equal(isMulticastIpv6(bytesOf(text), 0), asDestination === notUnicast, `${text} as a group`);
    }
    t.end();
  });
}

t.test('a martian source is named before the destination', (t) => {
  t.equal(verdict('::1', 'ff02::1'), -martian);
  t.end();
});

/** Any address, with those near the edges of the reserved prefixes often among them. */
const address = fc
  .tuple(
    fc.constantFrom<readonly number[]>(
      [],
      [0],
      [0xfe, 0x80],
      [0xfe, 0xbf],
      [0xfe, 0xc0],
      [0xfe, 0x7f],
      [0xff],
    ),
    fc.constantFrom(0, 9, 10, 12, 15, 16),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.boolean(),
  )
  .map(([head, zeros, tail, mapped]) => {
    const bytes = tail.slice().fill(0, 0, zeros);
    if (mapped) bytes.fill(0xff, 10, 12);
    bytes.set(head);
    return bytes;
  });

t.test(`any two addresses are judged as the prefixes say (TEST_SEED=${TEST_SEED})`, (t) => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(address, address, fc.nat(15), (source, destination, at) => {
      const slab = new Uint8Array(at + 40).fill(0xff);
      slab.set(source, at + 8);
      slab.set(destination, at + 24);
      const fate = classifyIpv6Addresses(slab, at);
      const expected = referenceIpv6Addresses(source, destination);
      seen.add(expected);
      assert.equal(fate === 0 ? 'sound' : dropReasonName(-fate), expected);
    }),
    { seed: TEST_SEED, numRuns: 5000 },
  );
  t.same([...seen].sort(), ['martian', 'notUnicast', 'sound']);
  t.end();
});
