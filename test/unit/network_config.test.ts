import t from 'tap';

import { formatIpv6, formatIpv6Prefix } from '../../src/ipv6_prefix.js';
import { type NetworkConfig, parseNetworkConfig } from '../../src/lease/network/network_config.js';
import { formatSubnet, type SubnetPool } from '../../src/lease/network/subnet_pool.js';
import { formatIpv4Prefix } from '../../src/ipv4_prefix.js';

/** A config in texts: `network first..last`, the same for IPv6. */
function shown(text: string): {
  ipv4: string | undefined;
  ipv6: string | undefined;
  port: number;
  nftables: boolean;
} {
  const config: NetworkConfig = parseNetworkConfig(text);
  return {
    ipv4: config.ipv4 && `${formatIpv4Prefix(config.ipv4.network)} ${span(config.ipv4.pool)}`,
    ipv6: config.ipv6 && `${formatIpv6Prefix(config.ipv6.network)} ${span(config.ipv6.pool)}`,
    port: config.port,
    nftables: config.enableNftables,
  };
}

function span(pool: SubnetPool): string {
  return `${formatSubnet(pool, pool.first)}..${formatSubnet(pool, pool.last)}`;
}

t.test('what a config leaves out has the defaults of flannel', (t) => {
  const rows: [network: string, ipv4: string][] = [
    ['10.0.0.0/8', '10.0.0.0/8 10.0.1.0/24..10.255.255.0/24'],
    ['10.1.0.0/16', '10.1.0.0/16 10.1.1.0/24..10.1.255.0/24'],
    ['10.1.4.0/22', '10.1.4.0/22 10.1.5.0/24..10.1.7.0/24'],
    ['10.1.4.0/23', '10.1.4.0/23 10.1.4.128/25..10.1.5.128/25'],
    ['10.1.4.0/24', '10.1.4.0/24 10.1.4.64/26..10.1.4.192/26'],
    ['192.0.2.16/28', '192.0.2.16/28 192.0.2.20/30..192.0.2.28/30'],
    ['255.0.0.0/8', '255.0.0.0/8 255.0.1.0/24..255.255.255.0/24'],
  ];
  for (const [network, ipv4] of rows) {
    const expected = { ipv4, ipv6: undefined, port: 8285, nftables: false };
    t.strictSame(shown(JSON.stringify({ Network: network })), expected, network);
  }
  t.end();
});

t.test('the IPv6 pool has the defaults of flannel', (t) => {
  const rows: [network: string, ipv6: string][] = [
    ['fd00::/8', 'fd00::/8 fd00:0:0:1::/64..fdff:ffff:ffff:ffff::/64'],
    ['fd00:1::/48', 'fd00:1::/48 fd00:1:0:1::/64..fd00:1:0:ffff::/64'],
    ['fd00:1::/62', 'fd00:1::/62 fd00:1:0:1::/64..fd00:1:0:3::/64'],
    ['fd00:1::/63', 'fd00:1::/63 fd00:1:0:0:8000::/65..fd00:1:0:1:8000::/65'],
    ['fd00:1::/124', 'fd00:1::/124 fd00:1::4/126..fd00:1::c/126'],
    ['ff00::/8', 'ff00::/8 ff00:0:0:1::/64..ffff:ffff:ffff:ffff::/64'],
  ];
  for (const [network, ipv6] of rows) {
    const text = JSON.stringify({ Network: '10.1.0.0/16', EnableIPv6: true, IPv6Network: network });
    t.equal(shown(text).ipv6, ipv6, network);
  }
  t.end();
});

t.test('every field is taken', (t) => {
  const text = `{
    "EnableIPv4": true, "EnableIPv6": true, "EnableNFTables": true,
    "Network": "10.0.0.0/8", "SubnetLen": 20, "SubnetMin": "10.10.0.0", "SubnetMax": "10.99.0.0",
    "IPv6Network": "fd00::/16", "IPv6SubnetLen": 56, "IPv6SubnetMin": "fd00:10::", "IPv6SubnetMax": "FD00:0099:0::",
    "Backend": {"Type": "udp", "Port": 7890}
  }`;
  t.strictSame(shown(text), {
    ipv4: '10.0.0.0/8 10.10.0.0/20..10.99.0.0/20',
    ipv6: 'fd00::/16 fd00:10::/56..fd00:99::/56',
    port: 7890,
    nftables: true,
  });
  t.equal(formatIpv6(parseNetworkConfig(text).ipv6!.pool.first), 'fd00:10::');
  t.end();
});

t.test('a config is decoded as Go does it', (t) => {
  const usual = '10.1.0.0/16 10.1.1.0/24..10.1.255.0/24';
  const rows: [text: string, ipv4: string][] = [
    ['{"network":"10.1.0.0/16"}', usual],
    ['{"NETWORK":"10.1.0.0/16","Networks":[],"Comment":{"a":1}}', usual],
    ['{"Network":"10.1.2.3/16"}', usual],
    ['{"Network":"10.1.0.0/016"}', usual],
    ['{"Network":"10.9.0.0/16","network":"10.1.0.0/16"}', usual],
    ['{"network":"10.9.0.0/16","Network":"10.1.0.0/16"}', usual],
    [
      '{"Network":"10.1.0.0/16","SubnetLen":25,"subnetlen":null}',
      '10.1.0.0/16 10.1.0.128/25..10.1.255.128/25',
    ],
    ['{"Network":"10.1.0.0/16","SubnetLen":0}', usual],
    ['{"Network":"10.1.0.0/16","SubnetMin":"0.0.0.0","SubnetMax":null,"EnableIPv4":null}', usual],
    ['{"Network":"10.1.0.0/16","IPv6Network":"fd00::/124","IPv6SubnetLen":127,"EnableIPv6":false}', usual],
    ['{"Network":"10.1.0.0/16","SubnetMin":"10.1.0.0"}', '10.1.0.0/16 10.1.0.0/24..10.1.255.0/24'],
    [
      '{"Network":"10.1.0.0/16","SubnetMin":"10.1.5.0","SubnetMax":"10.1.5.0"}',
      '10.1.0.0/16 10.1.5.0/24..10.1.5.0/24',
    ],
  ];
  for (const [text, ipv4] of rows) t.equal(shown(text).ipv4, ipv4, text);
  t.end();
});

t.test("a config that breaks a rule is refused in flannel's words, and the field is named", (t) => {
  const v4 = '"Network":"10.1.0.0/16"';
  const v6 = `${v4},"EnableIPv6":true,"IPv6Network":"fd00::/48"`;
  const rows: [text: string, start: string, names: string][] = [
    ['{}', 'please define a correct Network parameter in the flannel config', 'Network'],
    ['{"Network":"0.0.0.0/0"}', 'please define a correct Network parameter in the flannel config', 'Network'],
    [`{${v4},"SubnetLen":31}`, 'SubnetLen must be less than /31', 'SubnetLen is 31'],
    [`{${v4},"SubnetLen":32}`, 'SubnetLen must be less than /31', 'SubnetLen is 32'],
    [
      `{${v4},"SubnetLen":17}`,
      'network must be able to accommodate at least four subnets',
      'take 18 or more',
    ],
    [
      '{"Network":"10.1.0.0/29"}',
      'network is too small. Minimum useful network prefix is /28',
      'Network is a /29',
    ],
    [`{${v4},"SubnetMin":"10.0.255.0"}`, 'SubnetMin is not in the range of the Network', '10.0.255.0'],
    [`{${v4},"SubnetMin":"10.2.0.0"}`, 'SubnetMin is not in the range of the Network', '10.2.0.0'],
    [`{${v4},"SubnetMax":"10.2.0.0"}`, 'SubnetMax is not in the range of the Network', '10.2.0.0'],
    [`{${v4},"SubnetMin":"10.1.2.3"}`, 'SubnetMin is not on a SubnetLen boundary: 10.1.2.3', '10.1.2.0'],
    [`{${v4},"SubnetMax":"10.1.9.128"}`, 'SubnetMax is not on a SubnetLen boundary: 10.1.9.128', '10.1.9.0'],
    [
      `{${v4},"SubnetMin":"10.1.9.0","SubnetMax":"10.1.8.0"}`,
      'SubnetMin 10.1.9.0 is behind',
      'SubnetMax 10.1.8.0',
    ],
    [
      `{${v4},"EnableIPv6":true}`,
      'please define a correct IPv6Network parameter in the flannel config',
      'IPv6Network',
    ],
    [
      `{${v4},"EnableIPv6":true,"IPv6Network":"::/0"}`,
      'please define a correct IPv6Network parameter in the flannel config',
      'IPv6Network',
    ],
    [`{${v6},"IPv6SubnetLen":127}`, 'SubnetLen must be less than /127', 'IPv6SubnetLen is 127'],
    [
      `{${v6},"IPv6SubnetLen":49}`,
      'network must be able to accommodate at least four subnets',
      'IPv6SubnetLen is 49',
    ],
    [
      `{${v4},"EnableIPv6":true,"IPv6Network":"fd00::/125"}`,
      'IPv6Network is too small. Minimum useful network prefix is /124',
      'IPv6Network is a /125',
    ],
    [`{${v6},"IPv6SubnetMin":"fd01::"}`, 'IPv6SubnetMin is not in the range of the IPv6Network', 'fd01::'],
    [`{${v6},"IPv6SubnetMax":"fd01::"}`, 'IPv6SubnetMax is not in the range of the IPv6Network', 'fd01::'],
    [
      `{${v6},"IPv6SubnetMin":"fd00::1"}`,
      'IPv6SubnetMin is not on a SubnetLen boundary: fd00::1',
      'IPv6SubnetLen 64',
    ],
    [
      `{${v6},"IPv6SubnetMax":"fd00::1"}`,
      'IPv6SubnetMax is not on a SubnetLen boundary: fd00::1',
      'IPv6SubnetLen 64',
    ],
    [
      `{${v6},"IPv6SubnetMin":"fd00:0:0:9::","IPv6SubnetMax":"fd00:0:0:8::"}`,
      'IPv6SubnetMin fd00:0:0:9:: is behind',
      'IPv6SubnetMax fd00:0:0:8::',
    ],
    [`{${v4},"Backend":"udp"}`, 'error decoding Backend property of config: ', '"udp" is not a JSON object'],
    [`{${v4},"Backend":[]}`, 'error decoding Backend property of config: ', 'an array is not a JSON object'],
    [`{${v4},"Backend":{"Type":7}}`, 'error decoding Backend property of config: ', 'Type is 7'],
    ['{"Network":"fd00::/48"}', 'invalid IPv4 CIDR format', 'Network is "fd00::/48"'],
    ['{"Network":"10.1.0.0"}', 'invalid CIDR address', 'Network is "10.1.0.0"'],
    ['{"Network":"10.1.0.0/33"}', 'invalid CIDR address', 'Network is "10.1.0.0/33"'],
    ['{"Network":"10.1.0.0/16/2"}', 'invalid CIDR address', 'Network is'],
    ['{"Network":10}', 'invalid CIDR address', 'Network is 10'],
    [`{${v4},"SubnetMin":"fd00::"}`, 'invalid IPv4 address format', 'SubnetMin is "fd00::"'],
    [`{${v4},"SubnetMax":"ten"}`, 'invalid IP address format', 'SubnetMax is "ten"'],
    [`{${v4},"IPv6Network":"fd00::"}`, 'invalid CIDR address', 'IPv6Network is "fd00::"'],
    [`{${v4},"IPv6SubnetMin":"ten"}`, 'invalid IP address format', 'IPv6SubnetMin is "ten"'],
    [`{${v4},"SubnetLen":"24"}`, 'SubnetLen is "24"', 'without quotes'],
    [`{${v4},"SubnetLen":24.5}`, 'SubnetLen is 24.5', 'whole number'],
    [`{${v4},"SubnetLen":-1}`, 'SubnetLen is -1', 'whole number'],
    [`{${v4},"EnableIPv6":"true"}`, 'EnableIPv6 is "true"', 'without quotes'],
    [`{${v4},"Backend":{"Type":"udp","Port":0}}`, 'Backend.Port is 0', 'every host must have the same port'],
    [`{${v4},"Backend":{"Type":"udp","Port":65536}}`, 'Backend.Port is 65536', '1 to 65535'],
    [`{${v4},"Backend":{"Type":"udp","Port":"8285"}}`, 'Backend.Port is "8285"', '1 to 65535'],
    [`{${v4},"Backend":{"Type":"udp","Port":1.5}}`, 'Backend.Port is 1.5', '1 to 65535'],
    ['', 'not valid JSON at line 1, column 1', ''],
    ['{"Network":"10.1.0.0/16",}', 'not valid JSON at line 1, column 26', ''],
    ['[]', 'an array is not a JSON object', ''],
  ];
  for (const [text, start, names] of rows) {
    const refused = thrownBy(text);
    t.equal(refused.code, 'ERR_NETWORK_CONFIG', text);
    t.ok(refused.message.startsWith(start), `${text}: ${refused.message}`);
    t.ok(refused.message.includes(names), `${text} names ${names}: ${refused.message}`);
    t.notMatch(refused.message, /\n/);
  }
  t.end();
});

t.test('a backend other than udp is an error of its own', (t) => {
  const rows: [backend: string, message: RegExp][] = [
    ['{"Type":"vxlan"}', /^this network's backend type is "vxlan": selvage carries "udp" only; /],
    ['{"Type":"Host-GW"}', /^this network's backend type is "Host-GW": selvage carries "udp" only; /],
    ['{"Type":"vxlann"}', /^unknown backend type: "vxlann"; set Backend.Type to "udp"/],
    ['{"Port":8285}', /^unknown backend type: the Backend object has no Type; set Backend.Type to "udp"/],
    ['{}', /^unknown backend type: the Backend object has no Type; /],
    ['{"Type":""}', /^unknown backend type: the Backend object has no Type; /],
  ];
  for (const [backend, message] of rows) {
    const text = `{"Network":"10.1.0.0/16","Backend":${backend}}`;
    t.match(thrownBy(text), { code: 'ERR_BACKEND_TYPE', message }, backend);
  }
  t.end();
});

t.test(
  'a network may have IPv6 alone: Network is not looked for, but must be none that is malformed',
  (t) => {
    const only = '"EnableIPv4":false,"EnableIPv6":true';
    const ipv6 = 'fd00::/48 fd00:0:0:1::/64..fd00:0:0:ffff::/64';
    for (const more of ['', ',"Network":"10.1.0.0/31"', ',"SubnetLen":31', ',"SubnetMin":"192.0.2.1"']) {
      const text = `{${only},"IPv6Network":"fd00::/48"${more}}`;
      t.match(shown(text), { ipv4: undefined, ipv6 }, text);
    }
    t.match(thrownBy(`{${only},"IPv6Network":"fd00::/48","Network":"fd00::/48"}`), {
      code: 'ERR_NETWORK_CONFIG',
      message: /^invalid IPv4 CIDR format: Network is/,
    });
    t.match(thrownBy(`{${only},"Network":"10.1.0.0/16"}`), {
      code: 'ERR_NETWORK_CONFIG',
      message: /^please define a correct IPv6Network parameter/,
    });
    t.end();
  },
);

t.test('a network must have one family', (t) => {
  for (const text of [
    '{"EnableIPv4":false,"Network":"10.1.0.0/16"}',
    '{"EnableIPv4":false,"EnableIPv6":false,"IPv6Network":"fd00::/48"}',
  ]) {
    t.match(thrownBy(text), { code: 'ERR_NETWORK_CONFIG', message: /^none defined stack: / }, text);
  }
  t.end();
});

t.test('the udp backend is found in any case, and its port has a default', (t) => {
  const rows: [backend: string, port: number][] = [
    ['{"Type":"udp"}', 8285],
    ['{"type":"UDP","PORT":1}', 1],
    ['{"Type":"udp","Port":65535,"Other":true}', 65_535],
    ['{"Type":"udp","Port":null}', 8285],
  ];
  for (const [backend, port] of rows) {
    t.equal(parseNetworkConfig(`{"Network":"10.1.0.0/16","Backend":${backend}}`).port, port, backend);
  }
  t.end();
});

function thrownBy(text: string): { readonly code: string; readonly message: string } {
  try {
    parseNetworkConfig(text);
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error(`accepted: ${text}`);
}
