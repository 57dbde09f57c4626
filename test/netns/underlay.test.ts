/**
 * Which interface is the underlay, and which of its addresses.
 *
 * ```text
 *  host1   u1    192.168.100.1, .9 (dynamic), .8 (deprecated), 2001:db8::1 (dynamic), fe80::...
 *          ext0  198.51.100.1/24, 169.254.7.7/16; default route
 *          ext1  203.0.113.1/24 (dynamic), 203.0.113.2 (permanent)
 *          bare  no address but fe80::...
 *          cni0  10.1.1.1
 *          six0  2001:db8:6::1, ::9 (dynamic), fe80::...; no IPv4
 * ```
 */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { Underlay, UnderlayChoice } from '../../src/host/underlay.js';
import { evaluate } from './program.js';
import { Scenario } from './scenario.js';

t.setTimeout(120_000);

type Answer = Underlay | { readonly code: string; readonly message: string };

const FIND = `
  const { findUnderlay } = await load('host/underlay.js');
  const answers = [];
  for (const choice of input) {
    answers.push(await findUnderlay(choice).catch(({ code, message }) => ({ code, message })));
  }
  tell(answers);`;

const U1 = {
  interface: 'u1',
  address: '192.168.100.1',
  mtuBytes: 1500,
  ipv6Address: '2001:db8::1',
};
const EXT0 = { interface: 'ext0', address: '198.51.100.1', mtuBytes: 9000 };
const SIX0 = { interface: 'six0', mtuBytes: 1280, address: undefined, ipv6Address: '2001:db8:6::1' };
const EXT1 = { interface: 'ext1', address: '203.0.113.2', mtuBytes: 1400 };

function fault(message: RegExp, code = 'ERR_UNDERLAY_NOT_FOUND'): object {
  return { code, message };
}

const ROWS: [rule: string, choice: UnderlayChoice, expected: object][] = [
  ['nothing named: the default route', {}, EXT0],
  ['a name', { iface: ['u1'] }, U1],
  ['an address', { iface: ['192.168.100.1'] }, U1],
  [
    'a name: permanent addresses go first',
    { iface: ['ext1'] },
    { interface: 'ext1', address: '203.0.113.2' },
  ],
  ['an address that is not the best', { iface: ['203.0.113.1'] }, { ...EXT1, address: '203.0.113.1' }],
  ['an address named is taken as it is', { iface: ['192.168.100.8'] }, { ...U1, address: '192.168.100.8' }],
  ['the first that is there', { iface: ['eth9', '192.0.2.9', 'ext1', 'u1'] }, EXT1],
  ['an interface without an address is passed over', { iface: ['bare', 'ext1'] }, { interface: 'ext1' }],
  [
    'nothing of all that',
    { iface: ['eth9', '192.0.2.9', 'bare'] },
    fault(
      /no interface eth9; no interface has the address 192\.0\.2\.9; interface bare has no usable IPv4 or IPv6 address \(there are: .*u1 192\.168\.100\.1/,
    ),
  ],
  ['loopback is no underlay', { iface: ['lo'] }, fault(/interface lo has no usable IPv4 or IPv6 address/)],
  ['a regular expression on addresses', { ifaceRegex: ['^203\\.'] }, EXT1],
  ['and which of them matches', { ifaceRegex: ['\\.113\\.1$'] }, { ...EXT1, address: '203.0.113.1' }],
  ['a regular expression on names', { ifaceRegex: ['^ext[1-9]$'] }, EXT1],
  ['addresses go before names', { ifaceRegex: ['^u1$|^198\\.'] }, EXT0],
  ['not deprecated ones', { ifaceRegex: ['\\.8$'] }, fault(/matches \\\.8\$/)],
  ['the first expression that matches', { ifaceRegex: ['^wlan', '^u', '^ext'] }, U1],
  ['interfaces named go before expressions', { ifaceRegex: ['^u1$'], iface: ['ext1'] }, EXT1],
  ['expressions after those', { ifaceRegex: ['^u1$'], iface: ['eth9'] }, U1],
  [
    'an expression that is none, named',
    { iface: ['u1'], ifaceRegex: ['eth('] },
    fault(/^ifaceRegex: eth\( is not a JavaScript regular expression: .*/, 'ERR_OPTION'),
  ],
  ['flags of Go', { ifaceRegex: ['(?i)ETH'] }, fault(/\(\?i\)ETH/, 'ERR_OPTION')],
  ['anchors of Go', { ifaceRegex: ['\\Aeth'] }, fault(/\\Aeth/, 'ERR_OPTION')],
  ['classes of POSIX', { ifaceRegex: ['eth[[:digit:]]'] }, fault(/written \\d/, 'ERR_OPTION')],
  ['a neighbour', { ifaceCanReach: '203.0.113.99' }, { interface: 'ext1' }],
  ['a far host, by the default route', { ifaceCanReach: '192.0.2.1' }, EXT0],
  [
    'its source address as the kernel chooses it',
    { ifaceCanReach: '203.0.113.99' },
    { address: '203.0.113.1' },
  ],
  ['an address of this host', { ifaceCanReach: '192.168.100.1' }, U1],
  ['reachable comes last', { ifaceCanReach: '203.0.113.99', ifaceRegex: ['^u1$'] }, U1],
  ['but comes', { ifaceCanReach: '192.168.100.2', ifaceRegex: ['^wlan'] }, U1],
  ['no way there', { ifaceCanReach: '192.0.2.66' }, fault(/no way to 192\.0\.2\.66/)],
  ['what is no address', { ifaceCanReach: 'gateway' }, fault(/gateway is not an IP address/, 'ERR_OPTION')],
  ['the public IP tells the interface', { publicIp: '192.168.100.1' }, U1],
  ['a public IP behind NAT does not', { publicIp: '192.0.2.200' }, EXT0],
  ['an interface with IPv6 alone', { iface: ['six0'] }, SIX0],
  ['which an IPv4 underlay passes over', { iface: ['six0', 'ext1'], family: 4 }, EXT1],
  ['and names', { iface: ['six0'], family: 4 }, fault(/interface six0 has no usable IPv4 address/)],
  ['an IPv6 address, in any spelling', { iface: ['2001:DB8:0::1'] }, U1],
  [
    'of IPv6 too the one named is taken',
    { iface: ['2001:db8:6::9'] },
    { ...SIX0, ipv6Address: '2001:db8:6::9' },
  ],
  ['a link-local one tells no host', { iface: ['fe80::1%u1'] }, fault(/fe80::1 is link-local/)],
  ['IPv6 where an IPv4 address is named', { iface: ['192.168.100.1'], family: 6 }, U1],
  ['a regular expression on IPv6 addresses', { ifaceRegex: ['^2001:db8:6:'] }, SIX0],
  ['IPv4 addresses go before them', { ifaceRegex: ['::1$|^203\\.'] }, EXT1],
  ['and names with IPv4 before those without', { ifaceRegex: ['^(six|u)'] }, { interface: 'u1' }],
  ['an IPv6 neighbour', { ifaceCanReach: '2001:db8:6::77' }, SIX0],
  ['an IPv6 address of this host', { ifaceCanReach: '2001:db8:6::1' }, SIX0],
  ['no way to an IPv6 host', { ifaceCanReach: '2001:db8:66::1' }, fault(/no way to 2001:db8:66::1/)],
  ['over IPv6 its default route counts', { family: 6 }, SIX0],
  ['which need not be that of IPv4', { family: 4 }, EXT0],
  ['the public IPv6 tells the interface', { publicIpv6: '2001:db8::1' }, U1],
  ['where there is no public IP beside it', { publicIpv6: '2001:db8::1', publicIp: '203.0.113.2' }, EXT1],
  ['or over IPv6', { publicIpv6: '2001:db8::1', publicIp: '203.0.113.2', family: 6 }, U1],
  ['nor where an interface is named', { publicIp: '192.168.100.1', iface: ['ext1'] }, EXT1],
];

t.test('the choice of an interface', async (t) => {
  const { lab } = await Scenario.open(t);
  const host = lab.host(0);
  await host.ip(`
    addr del ${host.publicIpv6}/64 dev u1
    addr add 192.168.100.8/24 dev u1 valid_lft 10000 preferred_lft 0
    addr add 192.168.100.9/24 dev u1 valid_lft 10000 preferred_lft 10000
    addr add 2001:db8::1/64 dev u1 valid_lft 10000 preferred_lft 10000
    link add ext0 mtu 9000 type veth peer name ext0-end mtu 9000
    link set ext0-end up
    addr add 169.254.7.7/16 dev ext0
    addr add 198.51.100.1/24 dev ext0
    link set ext0 up
    link add ext1 mtu 1400 type veth peer name ext1-end mtu 1400
    link set ext1-end up
    addr add 203.0.113.1/24 dev ext1 valid_lft 10000 preferred_lft 10000
    addr add 203.0.113.2/24 dev ext1
    link set ext1 up
    link add bare type veth peer name bare-end
    link set bare-end up
    link set bare up
    link add six0 mtu 1280 type veth peer name six0-end mtu 1280
    link set six0-end up
    link set six0 up
    addr add 2001:db8:6::9/64 dev six0 valid_lft 10000 preferred_lft 10000 nodad
    addr add 2001:db8:6::1/64 dev six0 nodad
    route add default via 2001:db8:6::fe dev six0
    route add unreachable 2001:db8:66::/48
    route add default via 198.51.100.254
    route add unreachable 192.0.2.66`);
  const answers = await evaluate<Answer[]>(
    host,
    FIND,
    ROWS.map(([, choice]) => choice),
  );
  for (const [i, [rule, choice, expected]] of ROWS.entries()) {
    t.match(answers[i], expected, `${rule}: ${JSON.stringify(choice)}`);
  }

  await t.test('without a default route', async (t) => {
    await host.ip('route del default');
    t.match(await evaluate<Answer[]>(host, FIND, [{}]), [SIX0], 'that of IPv6 will do');
    t.match(await evaluate<Answer[]>(host, FIND, [{ family: 4 }]), [fault(/no default route/)]);
    await host.ip('route del default via 2001:db8:6::fe dev six0');
    const [none, behindNat, known] = await evaluate<Answer[]>(host, FIND, [
      {},
      { publicIp: '192.0.2.200' },
      { publicIp: '203.0.113.2' },
    ]);
    t.match(
      none,
      fault(/no default route.*name it with --iface.*there are:.*ext0 169\.254\.7\.7 198\.51\.100\.1/),
    );
    t.match(behindNat, fault(/no interface has the address 192\.0\.2\.200; there is no default route/));
    t.match(known, EXT1);
  });

  await t.test('a default route of several ways', async (t) => {
    await host.ip('route add default nexthop via 192.168.100.2 dev u1 nexthop via 198.51.100.254 dev ext0');
    t.match(await evaluate<Answer[]>(host, FIND, [{}]), [U1], 'the first of them');
  });
});

t.test('an interface with MTU 0 is refused', async (t) => {
  const { lab } = await Scenario.open(t);
  // Linux takes the IPv4 addresses from an interface whose MTU falls below 68, so a program has to pretend.
  const links = [{ ifname: 'odd0', mtu: 0, addr_info: [{ family: 'inet', local: '192.0.2.1' }] }];
  const pretender = join(lab.directory, 'ip');
  writeFileSync(pretender, `#!/bin/sh\necho '${JSON.stringify(links)}'\n`);
  chmodSync(pretender, 0o755);
  const env = { PATH: `${lab.directory}:${process.env['PATH']}` };
  const answers = await evaluate<Answer[]>(lab.host(0), FIND, [{ iface: ['odd0'] }], { env });
  t.match(answers, [fault(/odd0 has MTU 0/)]);
});
