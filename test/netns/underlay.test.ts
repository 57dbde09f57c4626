/**
 * Which interface is the underlay, and which of its addresses.
 *
 * ```text
 *  host1   u1    192.168.100.1, .9 (dynamic), .8 (deprecated), 2001:db8::1 (dynamic), fe80::...
 *          ext0  198.51.100.1/24, 169.254.7.7/16; default route
 *          ext1  203.0.113.1/24 (dynamic), 203.0.113.2 (permanent)
 *          bare  no address but fe80::...
 *          cni0  10.1.1.1
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
  ['an interface without an IPv4 address is passed over', { iface: ['bare', 'ext1'] }, { interface: 'ext1' }],
  [
    'nothing of all that',
    { iface: ['eth9', '192.0.2.9', 'bare'] },
    fault(
      /no interface eth9; no interface has the address 192\.0\.2\.9; interface bare has no usable IPv4 address \(there are: .*u1 192\.168\.100\.1/,
    ),
  ],
  ['loopback is no underlay', { iface: ['lo'] }, fault(/interface lo has no usable IPv4 address/)],
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
  ['what is no address', { ifaceCanReach: 'gateway' }, fault(/gateway is not an IPv4 address/, 'ERR_OPTION')],
  ['the public IP tells the interface', { publicIp: '192.168.100.1' }, U1],
  ['a public IP behind NAT does not', { publicIp: '192.0.2.200' }, EXT0],
  ['nor where an interface is named', { publicIp: '192.168.100.1', iface: ['ext1'] }, EXT1],
];

t.test('the choice of an interface', async (t) => {
  const { lab } = await Scenario.open(t);
  const host = lab.host(0);
  await host.ip(`
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
