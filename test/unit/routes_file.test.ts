import fc from 'fast-check';
import t from 'tap';

import { findJsonFault } from '../../src/lease/file/json_fault.js';
import type { IpFamily } from '../../src/ip_address.js';
import type { RouteSnapshot } from '../../src/lease/route_source.js';
import { nearName } from '../../src/lease/file/near_name.js';
import { parseRoutesFile, RoutesFileError } from '../../src/lease/file/routes_file.js';
import { TEST_SEED } from './test_seed.js';

const PEER = { subnet: '10.1.2.0/24', publicIp: '192.168.100.2' };
const FILE = { network: '10.1.0.0/16', subnet: '10.1.1.0/24', peers: [PEER] };

const PEER6 = { ipv6Subnet: 'fd00:1:0:2::/64', publicIp: '192.168.100.2' };
const FILE6 = { ipv6Network: 'fd00:1::/48', ipv6Subnet: 'fd00:1:0:1::/64', peers: [PEER6] };
const DUAL = { ...FILE6, ...FILE, peers: [{ ...PEER6, ...PEER }] };

function read(value: unknown, underlay: IpFamily | 'auto' = 'auto'): RouteSnapshot {
  return parseRoutesFile(JSON.stringify(value), underlay);
}

/** The problems that a value has as a file. */
function problemsOf(value: unknown, underlay: IpFamily | 'auto' = 'auto'): readonly string[] {
  return problemsOfText(JSON.stringify(value), underlay);
}

function problemsOfText(text: string, underlay: IpFamily | 'auto' = 'auto'): readonly string[] {
  try {
    parseRoutesFile(text, underlay);
    return [];
  } catch (error) {
    if (error instanceof RoutesFileError) return error.problems;
    throw error;
  }
}

function withPeers(...peers: unknown[]): unknown {
  return { ...FILE, peers };
}

t.test('a sound file is read as it stands', (t) => {
  const snapshot = { ...FILE, underlay: 4 };
  t.strictSame(read(FILE), snapshot);
  const peers = [{ ...PEER, port: 9000 }];
  t.strictSame(read({ ...FILE, peers }), { ...snapshot, peers });
  t.strictSame(read(withPeers()), { ...snapshot, peers: [] }, 'a network of one host');
  t.strictSame(
    parseRoutesFile(`\ufeff${JSON.stringify(FILE, null, 4)}\r\n`),
    snapshot,
    'byte order mark, indentation',
  );
  t.end();
});

t.test('a file has IPv4, IPv6 or both, and each subnet of a host makes a peer', (t) => {
  const [subnet, ipv6Subnet] = [PEER.subnet, PEER6.ipv6Subnet];
  const { publicIp } = PEER;
  t.strictSame(read(FILE6), { ...FILE6, underlay: 4, peers: [{ subnet: ipv6Subnet, publicIp }] });
  t.strictSame(read({ ...DUAL, peers: [{ ...DUAL.peers[0], port: 9000 }] }), {
    ...DUAL,
    underlay: 4,
    peers: [
      { subnet, publicIp, port: 9000 },
      { subnet: ipv6Subnet, publicIp, port: 9000 },
    ],
  });
  t.match(read({ ...DUAL, peers: [PEER] }), { peers: [{ subnet }] }, 'a host without IPv6 in a dual network');
  t.end();
});

t.test('the underlay is of the family asked for, else that of the peers, else that of the network', (t) => {
  const over6 = { ...PEER, publicIp: '2001:DB8:0::2' };
  t.match(read(withPeers(over6)), { underlay: 6, peers: [{ publicIp: '2001:db8::2' }] }, 'in one spelling');
  t.match(read({ ...FILE6, peers: [] }), { underlay: 6 });
  t.match(read({ ...DUAL, peers: [] }), { underlay: 4 });
  t.match(read({ ...DUAL, peers: [] }, 6), { underlay: 6 });
  t.match(read({ ...FILE6, peers: [] }, 4), { underlay: 4 });
  const mixed = withPeers(over6, { ...PEER, subnet: '10.1.3.0/24' });
  const is4 = 'peers[1].publicIp: "192.168.100.2" is not IPv6, which';
  t.strictSame(problemsOf(mixed), [`${is4} that of the first peer is`]);
  t.strictSame(problemsOf(mixed, 6), [`${is4} the underlay is`]);
  t.strictSame(problemsOf(mixed, 4), [
    'peers[0].publicIp: "2001:DB8:0::2" is not IPv4, which the underlay is',
  ]);
  t.end();
});

t.test('what a file must have depends on the families that it names', (t) => {
  const missing = 'is missing: expected an IPv';
  const rows: [unknown, string[]][] = [
    [
      { peers: [] },
      [`network ${missing}4 prefix like 10.1.0.0/16`, `subnet ${missing}4 prefix like 10.1.2.0/24`],
    ],
    [{ ...FILE6, ipv6Subnet: undefined }, [`ipv6Subnet ${missing}6 prefix like fd00:1:0:2::/64`]],
    [{ ...FILE6, ipv6Network: undefined }, [`ipv6Network ${missing}6 prefix like fd00:1::/48`]],
    [{ ...DUAL, network: undefined }, [`network ${missing}4 prefix like 10.1.0.0/16`]],
    [withPeers({ publicIp: PEER.publicIp }), [`peers[0].subnet ${missing}4 prefix like 10.1.2.0/24`]],
    [
      { ...FILE6, peers: [{ publicIp: PEER.publicIp }] },
      [`peers[0].ipv6Subnet ${missing}6 prefix like fd00:1:0:2::/64`],
    ],
    [withPeers(PEER6), ['peers[0].ipv6Subnet: the file has no ipv6Network']],
    [{ ...FILE6, peers: [{ ...PEER6, ...PEER }] }, ['peers[0].subnet: the file has no network']],
  ];
  for (const [value, problems] of rows) t.strictSame(problemsOf(value), problems, problems.join('; '));
  t.end();
});

t.test('IPv6 fields are checked as those of IPv4', (t) => {
  const peers = (...more: unknown[]): unknown => ({ ...FILE6, peers: more });
  const rows: [unknown, string[]][] = [
    [
      withPeers({ ...PEER, subnet: 'fd00:1:0:2::/64' }),
      ['peers[0].subnet: "fd00:1:0:2::/64" is not an IPv4 prefix; of IPv6 it is ipv6Subnet'],
    ],
    [
      { ...FILE6, ipv6Network: '10.1.0.0/16' },
      ['ipv6Network: "10.1.0.0/16" is not an IPv6 prefix; of IPv4 it is network'],
    ],
    [
      { ...FILE6, ipv6Subnet: 'FD00:1:0:1::/64' },
      [
        'ipv6Subnet: "FD00:1:0:1::/64" is not an IPv6 prefix like 2001:db8::/64: the canonical spelling is fd00:1:0:1::/64',
      ],
    ],
    [
      peers({ ...PEER6, publicIp: 'ff02::1' }),
      ['peers[0].publicIp: "ff02::1" is not the address of one host, such as 2001:db8::2'],
    ],
    [
      peers({ ...PEER6, publicIp: 'fe80::1' }),
      ['peers[0].publicIp: "fe80::1" is not the address of one host, such as 2001:db8::2'],
    ],
    [
      peers({ ...PEER6, ipv6Subnet: 'fd00:2::/64' }),
      ['peers[0].ipv6Subnet: fd00:2::/64 is not inside ipv6Network fd00:1::/48'],
    ],
    [
      peers({ ...PEER6, ipv6Subnet: 'fd00:1:0:1:8000::/65' }),
      ["peers[0].ipv6Subnet: fd00:1:0:1:8000::/65 overlaps this host's own subnet fd00:1:0:1::/64"],
    ],
    [
      peers({ ...PEER6, ipv6Subnet: 'fd00:1:0:8::/61' }, PEER6, { ...PEER6, ipv6Subnet: 'fd00:1:0:9::/64' }),
      ['peers[2].ipv6Subnet: fd00:1:0:9::/64 overlaps peers[0].ipv6Subnet fd00:1:0:8::/61'],
    ],
    [{ ...FILE6, ipv6_network: '' }, ['unknown key "ipv6_network"; did you mean "ipv6Network"?']],
  ];
  for (const [value, problems] of rows) t.strictSame(problemsOf(value), problems, problems.join('; '));
  t.end();
});

t.test('two peers may share a host', (t) => {
  t.strictSame(problemsOf(withPeers(PEER, { ...PEER, subnet: '10.1.3.0/24' })), []);
  t.end();
});

t.test('a problem names the field, the value and what is expected', (t) => {
  const rows: [unknown, string][] = [
    [
      withPeers(PEER, PEER, { ...PEER, subnet: '10.1.300.0/24' }),
      'peers[2].subnet: "10.1.300.0/24" is not an IPv4 prefix like 10.1.2.0/24: 300 is above 255',
    ],
    [
      { ...FILE, network: '10.1.0.1/16' },
      'network: "10.1.0.1/16" is not an IPv4 prefix like 10.1.2.0/24: bits are set after the first 16; the prefix is 10.1.0.0/16',
    ],
    [{ ...FILE, subnet: 7 }, 'subnet: 7 is not an IPv4 prefix like 10.1.2.0/24'],
    [{ ...FILE, subnet: null }, 'subnet: null is not an IPv4 prefix like 10.1.2.0/24'],
    [{ network: FILE.network, peers: [] }, 'subnet is missing: expected an IPv4 prefix like 10.1.2.0/24'],
    [{ ...FILE, peers: {} }, 'peers: an object is not an array of peers'],
    [{ network: FILE.network, subnet: FILE.subnet }, 'peers is missing: expected an array of peers'],
    [
      withPeers('10.1.2.0/24'),
      'peers[0]: the string "10.1.2.0/24" is not an object like {"subnet": "10.1.2.0/24", "publicIp": "192.168.100.2"}',
    ],
    [
      withPeers([]),
      'peers[0]: an array is not an object like {"subnet": "10.1.2.0/24", "publicIp": "192.168.100.2"}',
    ],
    [
      withPeers({ subnet: PEER.subnet }),
      'peers[0].publicIp is missing: expected an address like 192.168.100.2 or 2001:db8::2',
    ],
    [
      withPeers({ ...PEER, publicIp: '192.168.100' }),
      'peers[0].publicIp: "192.168.100" is not an IPv4 address like 192.0.2.1: expected four numbers from 0 to 255 with dots between them',
    ],
    [
      withPeers({ ...PEER, publicIp: '0.0.0.0' }),
      'peers[0].publicIp: "0.0.0.0" is not the address of one host, such as 192.168.100.2',
    ],
    [
      withPeers({ ...PEER, publicIp: '224.0.0.5' }),
      'peers[0].publicIp: "224.0.0.5" is not the address of one host, such as 192.168.100.2',
    ],
    [
      withPeers({ ...PEER, port: '8285' }),
      'peers[0].port: the string "8285" is not a UDP port from 1 to 65535',
    ],
    [withPeers({ ...PEER, port: 0 }), 'peers[0].port: 0 is not a UDP port from 1 to 65535'],
    [withPeers({ ...PEER, port: 65_536 }), 'peers[0].port: 65536 is not a UDP port from 1 to 65535'],
    [withPeers({ ...PEER, port: -0.5 }), 'peers[0].port: -0.5 is not a UDP port from 1 to 65535'],
    [withPeers({ ...PEER, port: null }), 'peers[0].port: null is not a UDP port from 1 to 65535'],
    [[], 'an array is not an object like {"network": "10.1.0.0/16", "subnet": "10.1.1.0/24", "peers": []}'],
    [null, 'null is not an object like {"network": "10.1.0.0/16", "subnet": "10.1.1.0/24", "peers": []}'],
  ];
  for (const [value, problem] of rows) t.strictSame(problemsOf(value).slice(0, 1), [problem], problem);
  t.end();
});

t.test('an unknown key is named, with the known one that it resembles', (t) => {
  const rows: [unknown, string][] = [
    [{ ...FILE, subnets: [] }, 'unknown key "subnets"; did you mean "subnet"?'],
    [
      withPeers({ ...PEER, publicIP: '192.0.2.1' }),
      'peers[0]: unknown key "publicIP"; did you mean "publicIp"?',
    ],
    [
      withPeers({ ...PEER, public_ip: '192.0.2.1' }),
      'peers[0]: unknown key "public_ip"; did you mean "publicIp"?',
    ],
    [withPeers({ ...PEER, prot: 8285 }), 'peers[0]: unknown key "prot"; did you mean "port"?'],
    [
      withPeers({ ...PEER, comment: 'x' }),
      'peers[0]: unknown key "comment"; known keys are subnet, ipv6Subnet, publicIp, port',
    ],
    [
      { ...FILE, mtu: 1400 },
      'unknown key "mtu"; known keys are network, subnet, ipv6Network, ipv6Subnet, peers',
    ],
  ];
  for (const [value, problem] of rows) t.strictSame(problemsOf(value), [problem], problem);
  t.strictSame(
    problemsOfText(JSON.stringify(FILE).replace('{', '{"__proto__": {}, ')),
    ['unknown key "__proto__"; known keys are network, subnet, ipv6Network, ipv6Subnet, peers'],
    '__proto__ is a key like another',
  );
  t.end();
});

t.test('subnets lie inside the network and do not overlap', (t) => {
  const rows: [unknown, string[]][] = [
    [{ ...FILE, subnet: '10.2.1.0/24' }, ['subnet: 10.2.1.0/24 is not inside network 10.1.0.0/16']],
    [{ ...FILE, subnet: '10.0.0.0/8', peers: [] }, ['subnet: 10.0.0.0/8 is not inside network 10.1.0.0/16']],
    [
      withPeers({ ...PEER, subnet: '10.2.2.0/24' }),
      ['peers[0].subnet: 10.2.2.0/24 is not inside network 10.1.0.0/16'],
    ],
    [
      withPeers({ ...PEER, publicIp: '10.1.3.5' }),
      ['peers[0].publicIp: 10.1.3.5 lies inside network 10.1.0.0/16: its datagrams would loop'],
    ],
    [
      withPeers({ ...PEER, subnet: '10.1.1.0/24' }),
      ["peers[0].subnet: 10.1.1.0/24 is this host's own subnet"],
    ],
    [
      withPeers({ ...PEER, subnet: '10.1.1.128/25' }),
      ["peers[0].subnet: 10.1.1.128/25 overlaps this host's own subnet 10.1.1.0/24"],
    ],
    [
      withPeers({ ...PEER, subnet: '10.1.0.0/23' }),
      ["peers[0].subnet: 10.1.0.0/23 overlaps this host's own subnet 10.1.1.0/24"],
    ],
    [
      withPeers(PEER, { ...PEER, subnet: '10.1.3.0/24' }, PEER),
      ['peers[2].subnet: 10.1.2.0/24 is also peers[0].subnet'],
    ],
    [
      withPeers({ ...PEER, subnet: '10.1.2.128/25' }, PEER),
      ['peers[1].subnet: 10.1.2.0/24 overlaps peers[0].subnet 10.1.2.128/25'],
    ],
    [
      withPeers(
        { ...PEER, subnet: '10.1.4.0/22' },
        { ...PEER, subnet: '10.1.7.0/24' },
        { ...PEER, subnet: '10.1.5.0/24' },
        { ...PEER, subnet: '10.1.8.0/24' },
      ),
      [
        'peers[1].subnet: 10.1.7.0/24 overlaps peers[0].subnet 10.1.4.0/22',
        'peers[2].subnet: 10.1.5.0/24 overlaps peers[0].subnet 10.1.4.0/22',
      ],
    ],
  ];
  for (const [value, problems] of rows) t.strictSame(problemsOf(value), problems, problems.join('; '));
  t.end();
});

t.test('subnets that begin at one address overlap, whichever is wider', (t) => {
  const at = (bits: number): unknown => ({ ...PEER, subnet: `10.1.4.0/${bits}` });
  const problem = (second: number, first: number): string[] => [
    `peers[1].subnet: 10.1.4.0/${second} overlaps peers[0].subnet 10.1.4.0/${first}`,
  ];
  t.strictSame(problemsOf(withPeers(at(22), at(24))), problem(24, 22));
  t.strictSame(problemsOf(withPeers(at(24), at(22))), problem(22, 24));
  t.end();
});

t.test('addresses above 127 sort as unsigned', (t) => {
  const file = { network: '0.0.0.0/0', subnet: '10.0.0.0/8' };
  const subnets = ['192.168.0.0/16', '127.0.0.0/8', '128.0.0.0/8', '192.168.7.0/24'];
  const peers = subnets.map((subnet) => ({ subnet, publicIp: '2001:db8::1' }));
  t.strictSame(problemsOf({ ...file, peers }), [
    'peers[3].subnet: 192.168.7.0/24 overlaps peers[0].subnet 192.168.0.0/16',
  ]);
  const all = [peers[0], { ...peers[0], subnet: '0.0.0.0/0' }];
  t.strictSame(problemsOf({ ...file, peers: all }), [
    "peers[1].subnet: 0.0.0.0/0 overlaps this host's own subnet 10.0.0.0/8",
    'peers[1].subnet: 0.0.0.0/0 overlaps peers[0].subnet 192.168.0.0/16',
  ]);
  t.end();
});

t.test('all problems are reported, of the fields and between them', (t) => {
  const value = {
    netwrok: '10.1.0.0/16',
    ...FILE,
    peers: [PEER, { ...PEER, port: 0 }, { ...PEER, subnet: 'x' }],
  };
  t.strictSame(problemsOf(value), [
    'peers[1].port: 0 is not a UDP port from 1 to 65535',
    'peers[2].subnet: "x" is not an IPv4 prefix like 10.1.2.0/24: the length, as in "/24", is missing',
    'unknown key "netwrok"; did you mean "network"?',
    'peers[1].subnet: 10.1.2.0/24 is also peers[0].subnet',
  ]);
  t.end();
});

t.test('the message is one line and stays short, however many problems there are', (t) => {
  const peers = Array.from({ length: 1000 }, () => ({ subnet: '\n'.repeat(500), publicIp: '192.0.2.1' }));
  try {
    parseRoutesFile(JSON.stringify({ ...FILE, peers }));
    t.fail('accepted');
  } catch (error) {
    t.match(error, { code: 'ERR_ROUTES_FILE', message: /^[^\n]{1,8000}; and 980 more problems$/ });
    t.equal((error as RoutesFileError).problems.length, 1000);
  }
  t.end();
});

t.test('text that is not JSON is reported with line and column', (t) => {
  const rows: [string, string][] = [
    ['', 'line 1, column 1: the file ends where a value is expected'],
    ['  \n ', 'line 2, column 2: the file ends where a value is expected'],
    ['{', 'line 1, column 2: the file ends where a key in double quotes is expected'],
    ['{"a": 1', 'line 1, column 8: the file ends where "," or "}" is expected'],
    ['{\n  "a": 1,\n}', 'line 3, column 1: "}" where a key in double quotes is expected'],
    ['{\n  "a": 1\n  "b": 2\n}', 'line 3, column 3: "\\"" where "," or "}" is expected'],
    ["{'a': 1}", 'line 1, column 2: "\'" where a key in double quotes is expected'],
    ['{a: 1}', 'line 1, column 2: "a" where a key in double quotes is expected'],
    ['{"a" 1}', 'line 1, column 6: "1" where ":" is expected'],
    ['[1, 2,]', 'line 1, column 7: "]" where a value is expected'],
    ['[1 2]', 'line 1, column 4: "2" where "," or "]" is expected'],
    ['[01]', 'line 1, column 3: "1" where "," or "]" is expected'],
    ['[-]', 'line 1, column 3: "]" where a digit is expected'],
    ['[1.]', 'line 1, column 4: "]" where a digit is expected'],
    ['[1e+]', 'line 1, column 5: "]" where a digit is expected'],
    ['["abc', 'line 1, column 6: the file ends where the rest of a string and its closing quote is expected'],
    [
      '["abc\n"]',
      'line 1, column 6: the line ends where the rest of a string and its closing quote is expected',
    ],
    ['["a\\x"]', 'line 1, column 4: "\\\\" where an escape like \\n, \\" or \\u00e9 is expected'],
    ['["a\\u12g4"]', 'line 1, column 4: "\\\\" where an escape like \\n, \\" or \\u00e9 is expected'],
    ['{} // note', 'line 1, column 4: "/" where the end of the file is expected'],
    ['nul', 'line 1, column 1: "n" where a value is expected'],
    ['[NaN]', 'line 1, column 2: "N" where a value is expected'],
    ['[[[{"a": [}]]]', 'line 1, column 11: "}" where a value is expected'],
  ];
  for (const [text, problem] of rows) {
    t.strictSame(problemsOfText(text), [`not valid JSON at ${problem}`], JSON.stringify(text));
  }
  t.end();
});

t.test('hostile JSON neither overflows the stack nor takes long', (t) => {
  const million = 1_000_000;
  t.match(problemsOfText('['.repeat(million)), [/line 1, column 1000001: the file ends/]);
  t.match(problemsOfText('{"a":'.repeat(million)), [/the file ends where a value/]);
  t.match(problemsOfText(`["${'x'.repeat(million)}", oops]`), [/column 1000006: "o"/]);
  t.match(problemsOfText(`[${' '.repeat(million)}${'9'.repeat(million)}.]`), [/a digit is expected/]);
  t.match(problemsOf(withPeers({ ...PEER, ['k'.repeat(million)]: 1 })), [
    /^peers\[0\]: unknown key "k{60}\.\.\."/,
  ]);
  t.end();
});

t.test(`the fault finder agrees with JSON.parse on what is JSON (TEST_SEED=${TEST_SEED})`, (t) => {
  let faults = 0;
  fc.assert(
    fc.property(
      fc.json({ maxDepth: 4 }),
      fc.nat(),
      fc.nat(3),
      fc.constantFrom(...'{}[]",:\\0-e.u \n'),
      (json, at, kind, extra) => {
        const cut = json.length === 0 ? 0 : at % json.length;
        const edits = [
          json,
          json.slice(0, cut),
          json.slice(0, cut) + json.slice(cut + 1),
          json.slice(0, cut) + extra + json.slice(cut),
        ];
        const text = edits[kind]!;
        let sound = true;
        try {
          JSON.parse(text);
        } catch {
          sound = false;
          faults++;
        }
        return (findJsonFault(text) === undefined) === sound;
      },
    ),
    { seed: TEST_SEED, numRuns: 5000 },
  );
  t.ok(faults > 500, `${faults} of 5000 texts were not JSON`);
  t.end();
});

t.test('near names are found by spelling, not by wishful thinking', (t) => {
  const known = ['network', 'subnet', 'peers', 'port'];
  const rows: [string, string | undefined][] = [
    ['Network', 'network'],
    ['net_work', 'network'],
    ['netwrok', 'network'],
    ['peer', 'peers'],
    ['sub-net', 'subnet'],
    ['ports', 'port'],
    ['x', undefined],
    ['mtu', undefined],
    ['', undefined],
    ['n'.repeat(100), undefined],
  ];
  for (const [name, near] of rows) t.equal(nearName(name, known), near, JSON.stringify(name));
  t.end();
});

t.test('65,536 peers are accepted, and one fault among them is found', (t) => {
  const peers = Array.from({ length: 65_536 }, (_, i) => ({
    subnet: `11.${(i >> 8) & 255}.${i & 255}.0/24`,
    publicIp: `192.168.${(i >> 8) & 255}.${i & 255}`,
  }));
  const file = { network: '8.0.0.0/6', subnet: '10.1.1.0/24', peers };
  t.equal(parseRoutesFile(JSON.stringify(file)).peers.length, 65_536);
  peers[60_000]!.subnet = '11.0.7.128/25';
  t.strictSame(problemsOf(file), ['peers[60000].subnet: 11.0.7.128/25 overlaps peers[7].subnet 11.0.7.0/24']);
  t.end();
});
