/**
 * Which addresses of an interface peers may be told, best first.
 */
import t from 'tap';

import {
  allIpv6Addresses,
  type HostAddress,
  usableIpv4Addresses,
  usableIpv6Addresses,
} from '../../src/host/host_link.js';

function link(addresses: readonly HostAddress[]): Parameters<typeof usableIpv4Addresses>[0] {
  return { ifname: 'u1', mtu: 1500, addr_info: addresses };
}

const v4 = (local: string, flags: Partial<HostAddress> = {}): HostAddress => ({
  family: 'inet',
  local,
  ...flags,
});
const v6 = (local: string, flags: Partial<HostAddress> = {}): HostAddress => ({
  family: 'inet6',
  local,
  ...flags,
});

t.test('IPv4', (t) => {
  const rows: [rule: string, addresses: HostAddress[], expected: string[]][] = [
    ['the order of the kernel', [v4('192.0.2.2'), v4('192.0.2.1')], ['192.0.2.2', '192.0.2.1']],
    ['link-local last', [v4('169.254.1.1'), v4('192.0.2.1')], ['192.0.2.1', '169.254.1.1']],
    ['link-local alone will do', [v4('169.254.1.1')], ['169.254.1.1']],
    ['permanent first', [v4('192.0.2.9', { dynamic: true }), v4('192.0.2.1')], ['192.0.2.1', '192.0.2.9']],
    [
      'global and dynamic before link-local and permanent',
      [v4('169.254.1.1'), v4('192.0.2.9', { dynamic: true })],
      ['192.0.2.9', '169.254.1.1'],
    ],
    ['deprecated never', [v4('192.0.2.9', { deprecated: true })], []],
    ['loopback, multicast and 0/8 never', [v4('127.0.0.1'), v4('224.0.0.1'), v4('0.1.2.3')], []],
    ['IPv6 never', [v6('2001:db8::1')], []],
    ['private addresses are global', [v4('10.0.0.1')], ['10.0.0.1']],
    ['an entry without an address', [{ family: 'inet' }], []],
  ];
  for (const [rule, addresses, expected] of rows) {
    t.strictSame(usableIpv4Addresses(link(addresses)), expected, rule);
  }
  t.end();
});

t.test('IPv6', (t) => {
  const rows: [rule: string, addresses: HostAddress[], expected: string | undefined][] = [
    ['link-local never', [v6('fe80::1'), v6('febf::1')], undefined],
    ['loopback, unspecified and multicast never', [v6('::1'), v6('::'), v6('ff02::1')], undefined],
    ['unique local addresses are global', [v6('fe80::1'), v6('fd00::1')], 'fd00::1'],
    ['permanent first', [v6('2001:db8::9', { dynamic: true }), v6('2001:db8::1')], '2001:db8::1'],
    [
      'of dynamic ones a non-temporary first',
      [v6('2001:db8::9', { dynamic: true, temporary: true }), v6('2001:db8::1', { dynamic: true })],
      '2001:db8::1',
    ],
    ['deprecated never', [v6('2001:db8::1', { deprecated: true })], undefined],
    ['one that another host has never', [v6('2001:db8::1', { dadfailed: true })], undefined],
    ['IPv4 never', [v4('192.0.2.1')], undefined],
  ];
  for (const [rule, addresses, expected] of rows) {
    t.equal(usableIpv6Addresses(link(addresses))[0], expected, rule);
  }
  t.end();
});

t.test('of IPv6 an operator may name every address but link-local', (t) => {
  const addresses = [v6('fe80::1'), v6('2001:db8::1', { deprecated: true }), v4('192.0.2.1'), v6('fd00::1')];
  t.strictSame(allIpv6Addresses(link(addresses)), ['2001:db8::1', 'fd00::1']);
  t.end();
});
