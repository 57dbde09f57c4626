import t from 'tap';

import { DROP_REASONS, type TraceRecord } from '../../src/index.js';
import { readOptions } from '../../src/cli/option_table.js';
import { TRACE_OPTIONS, traceQuestion, type TraceQuestion } from '../../src/cli/trace_options.js';
import { commentText, recordText, summaryText } from '../../src/cli/trace_text.js';

const FLOW = {
  family: 4,
  source: '10.1.1.2',
  destination: '10.1.2.2',
  protocol: 6,
  sourcePort: 40000,
  destinationPort: 80,
} as const;
const RECORD: TraceRecord = {
  lane: 0,
  time: new Date(2026, 10, 21, 1, 2, 3, 45),
  direction: 'outbound',
  reason: null,
  segments: 1,
  lostSegments: 0,
  nextHop: { address: '192.0.2.2', port: 8285 },
  outerSource: null,
  lengthBytes: 1448,
  wireBytes: 1448,
  flow: FLOW,
  head: new Uint8Array(0),
};
const SPOOFED: Partial<TraceRecord> = {
  direction: 'inbound',
  nextHop: null,
  outerSource: '198.51.100.7',
  reason: 'spoofedSource',
  lostSegments: 1,
  flow: { ...FLOW, protocol: 1, sourcePort: -1, destinationPort: -1 },
  lengthBytes: 84,
};
const sentenceOf = (wanted: string): string => DROP_REASONS.find(({ name }) => name === wanted)!.sentence;

t.test('a frame is one line: time, lane, direction, flow, size, and what became of it', (t) => {
  const flow6 = { ...FLOW, family: 6, source: 'fd00::1', destination: 'fd00::2', protocol: 17 } as const;
  const rows: [Partial<TraceRecord>, string][] = [
    [{}, 'lane0 out 10.1.1.2:40000 > 10.1.2.2:80 tcp 1448 -> 192.0.2.2:8285'],
    [
      { lane: 3, segments: 44, lengthBytes: 61_656 },
      'lane3 out 10.1.1.2:40000 > 10.1.2.2:80 tcp 1448 x44 -> 192.0.2.2:8285',
    ],
    [
      { segments: 44, lostSegments: 3, reason: 'sendBufferFull' },
      `lane0 out 10.1.1.2:40000 > 10.1.2.2:80 tcp 1448 x44 -> 192.0.2.2:8285 DROP 3 of 44 sendBufferFull: ${sentenceOf('sendBufferFull')}`,
    ],
    [
      { flow: flow6, nextHop: { address: '2001:db8::2', port: 8285 } },
      'lane0 out [fd00::1]:40000 > [fd00::2]:80 udp 1448 -> [2001:db8::2]:8285',
    ],
    [
      SPOOFED,
      `lane0 in  10.1.1.2 > 10.1.2.2 icmp 84 <- 198.51.100.7 DROP spoofedSource: ${sentenceOf('spoofedSource')}`,
    ],
    [
      { nextHop: null, flow: { ...FLOW, protocol: 99 } },
      'lane0 out 10.1.1.2:40000 > 10.1.2.2:80 protocol 99 1448',
    ],
    [
      { nextHop: null, flow: null, lengthBytes: 3, reason: 'truncated', lostSegments: 1 },
      `lane0 out no IP header 3 DROP truncated: ${sentenceOf('truncated')}`,
    ],
    [
      { reason: 'later' as 'noRoute', lostSegments: 1, nextHop: null },
      'lane0 out 10.1.1.2:40000 > 10.1.2.2:80 tcp 1448 DROP later',
    ],
  ];
  for (const [changes, line] of rows) t.equal(recordText({ ...RECORD, ...changes }), `01:02:03.045 ${line}`);
  t.match(recordText(RECORD, 'flannel7'), /^01:02:03\.045 flannel7 lane0 out /);
  t.end();
});

t.test('the comment of a packet says its lane, its verdict and how many segments it had', (t) => {
  t.equal(commentText(RECORD), 'lane0, -> 192.0.2.2:8285');
  t.equal(
    commentText({ ...RECORD, segments: 44 }),
    'lane0, superframe of 44 segments, 1448 bytes each at most, -> 192.0.2.2:8285',
  );
  t.match(commentText({ ...RECORD, ...SPOOFED }), /^lane0, <- 198\.51\.100\.7 DROP spoofedSource: /);
  t.end();
});

t.test('the last line says how many matched, and why some were not shown', (t) => {
  const none = { matched: 7, shown: 7, limited: 0, overrun: 0, unsent: 0 };
  t.equal(summaryText(none), '7 frames shown, 7 matched (a superframe counts once)');
  t.equal(
    summaryText({ matched: 12_345, shown: 20, limited: 12_000, overrun: 300, unsent: 5 }),
    '20 frames shown, 12,345 matched (a superframe counts once); not shown: 12,000 above --rate, 300 as a ring was full, 5 as they were read too slowly, 20 behind the last one asked for',
  );
  t.end();
});

function question(...args: string[]): TraceQuestion {
  return traceQuestion(readOptions(TRACE_OPTIONS, args, {}));
}

t.test('the options say which frames to show, and how', (t) => {
  const filters = [
    '--host',
    'fd00::/8',
    '--src',
    'fd00::1',
    '--dst=fd00::2',
    '--proto',
    'TCP',
    '--port',
    '80',
  ];
  const more = ['--src-port', '1', '--dst-port', '2', '--direction', 'out', '--peer', '192.0.2.2', '--drops'];
  const ends = ['--reason', 'tooBig', '--count', '3', '--seconds', '4', '--rate', '5', '--pcap', '-'];
  t.match(question(...filters, ...more, ...ends), {
    options: {
      host: 'fd00::/8',
      source: 'fd00::1',
      destination: 'fd00::2',
      protocol: 6,
      port: 80,
      sourcePort: 1,
      destinationPort: 2,
      direction: 'outbound',
      peer: '192.0.2.2',
      verdict: 'dropped',
      reason: 'tooBig',
      recordsPerSecond: 5,
    },
    count: 3,
    seconds: 4,
    pcap: '-',
    json: false,
  });
  const { options } = question();
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  t.strictSame(given, [['recordsPerSecond', 1000]]);
  t.equal(question('--proto', '132').options.protocol, 132);
  t.equal(question('--direction', 'out').options.direction, 'outbound');
  t.end();
});

t.test('a wrong option is refused with what it should be', (t) => {
  const rows: [string[], RegExp][] = [
    [['--host', '10.1'], /^--host: .*is not an IPv4 address/],
    [['--src', '10.1.1.1/24'], /^--src: .*the prefix is 10\.1\.1\.0\/24/],
    [['--peer', 'host'], /^--peer: /],
    [['--reason', 'noroute '], /^--reason: .*did you mean noRoute\?/],
    [['--proto', 'tpc'], /^--proto: "tpc" is not one of icmp, tcp/],
    [['--proto', '256'], /^--proto: /],
    [['--port', '70000'], /^--port: .*0 to 65535/],
    [['--rate', '0'], /^--rate: .*1 to 10000/],
    [['--direction', 'up'], /^--direction: .*in, out/],
    [['--json', '--pcap', 'x'], /--json and --pcap/],
  ];
  for (const [args, message] of rows)
    t.throws(() => question(...args), { code: 'ERR_USAGE', message }, args.join(' '));
  t.end();
});

t.test('filters that no frame can pass are refused', (t) => {
  for (const [args, message] of [
    [['--src', '10.1.1.2', '--dst', 'fd00::/8'], /of one family/],
    [['--proto', 'icmp', '--port', '80'], /no ports/],
    [['--reason', 'spoofedSource', '--direction', 'out'], /in the other direction only/],
  ] as const) {
    t.throws(() => question(...args), { code: 'ERR_USAGE', message });
  }
  for (const args of [
    ['--src', 'fd00::1', '--host', 'fd00::/8'],
    ['--proto', 'tcp', '--port', '80'],
    ['--reason', 'spoofedSource', '--direction', 'in'],
  ]) {
    t.doesNotThrow(() => question(...args), args.join(' '));
  }
  t.end();
});
