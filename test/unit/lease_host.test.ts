/**
 * How a host shows itself in networks of each family, and which leases are its own.
 */
import t from 'tap';

import type { LeaseValue } from '../../src/lease/lease.js';
import { formatLeaseValue } from '../../src/lease/lease_value.js';
import { type HostAddresses, hostIn, isOf, type LeaseHost } from '../../src/lease/lease_host.js';
import { parseNetworkConfig } from '../../src/lease/network/network_config.js';
import { DUAL, IPV6_ONLY, SIXTEEN } from './lease_fixture.js';

const V4 = '192.0.2.1';
const V6 = '2001:db8::1';
const BOTH = { publicIp: V4, publicIpv6: V6 };

function shown(text: string, addresses: Omit<HostAddresses, 'underlay'>, underlay: 'auto' | 4 | 6 = 'auto') {
  const host = hostIn(parseNetworkConfig(text), { ...addresses, underlay });
  return [host.underlay, host.address, formatLeaseValue(host.value)];
}

t.test(
  'the underlay is IPv4 unless the network has none, and the value names what the network knows',
  (t) => {
    const four = '{"PublicIP":"192.0.2.1","PublicIPv6":null}';
    const both = '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1"}';
    const six = '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}';
    t.strictSame(shown(SIXTEEN, BOTH), [4, V4, four], 'as flanneld, whatever IPv6 the host has');
    t.strictSame(shown(SIXTEEN, { publicIp: V4 }), [4, V4, four]);
    t.strictSame(shown(SIXTEEN, BOTH, 6), [6, V6, both]);
    t.strictSame(shown(SIXTEEN, { publicIpv6: V6 }, 6), [6, V6, six]);
    t.strictSame(shown(DUAL, BOTH), [4, V4, both]);
    t.strictSame(shown(DUAL, { publicIp: V4 }), [4, V4, four]);
    t.strictSame(shown(DUAL, BOTH, 6), [6, V6, both]);
    t.strictSame(shown(IPV6_ONLY, BOTH), [6, V6, six], 'an address of a family that the network has not');
    t.strictSame(shown(IPV6_ONLY, BOTH, 4), [4, V4, both], 'unless datagrams go there');
    t.end();
  },
);

t.test('without an address of the family that is needed the error names what helps', (t) => {
  const rows: [text: string, addresses: object, underlay: 'auto' | 4 | 6, message: RegExp][] = [
    [
      SIXTEEN,
      { publicIpv6: V6 },
      'auto',
      /^the underlay is IPv4 \(the network has IPv4\) .*--public-ip;.*ipv6 on/,
    ],
    [
      IPV6_ONLY,
      { publicIp: V4 },
      'auto',
      /^the underlay is IPv6 \(the network has IPv6 alone\) .*--public-ipv6;/,
    ],
    [
      DUAL,
      { publicIp: V4 },
      6,
      /^the underlay is IPv6 and .*--public-ipv6; --underlay-family ipv4 on every host/,
    ],
  ];
  for (const [text, addresses, underlay, message] of rows) {
    t.throws(() => shown(text, addresses, underlay), { code: 'ERR_PUBLIC_IP', message });
  }
  t.end();
});

t.test('a lease is of the host with its address; the other family counts where that is missing', (t) => {
  const value = (publicIp?: string, publicIpv6?: string): LeaseValue => ({
    ...(publicIp === undefined ? {} : { publicIp }),
    ...(publicIpv6 === undefined ? {} : { publicIpv6 }),
    backendType: '',
  });
  const over4: LeaseHost = { underlay: 4, address: V4, value: value(V4, V6) };
  const over6: LeaseHost = { underlay: 6, address: V6, value: value(V4, V6) };
  const rows: [what: string, lease: LeaseValue, over4: boolean, over6: boolean][] = [
    ['both', value(V4, V6), true, true],
    ["flanneld's", value(V4), true, true],
    ['IPv6 alone', value(undefined, V6), true, true],
    ['behind one IPv4 address, each with its own IPv6', value(V4, '2001:db8::9'), true, false],
    ['the other way round', value('192.0.2.9', V6), false, true],
    ["another's", value('192.0.2.9', '2001:db8::9'), false, false],
    ["another's, IPv6 alone", value(undefined, '2001:db8::9'), false, false],
  ];
  for (const [what, lease, is4, is6] of rows) {
    t.equal(isOf(lease, over4), is4, `${what}, over IPv4`);
    t.equal(isOf(lease, over6), is6, `${what}, over IPv6`);
  }
  const bare: LeaseHost = { underlay: 4, address: V4, value: value(V4) };
  t.equal(isOf(value(undefined, '2001:db8::9'), bare), false, 'two that are missing are not the same');
  t.end();
});
