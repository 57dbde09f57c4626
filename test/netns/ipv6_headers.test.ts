/**
 * Whatever stands between an IPv6 header and what it carries crosses unchanged: a router takes one from the hop limit and
 * leaves the chain of extension headers to others (RFC 8200 section 4).
 *
 * ```text
 *  pod1, packets by hand ---- host1 ~ selvage ==== selvage ~ host2 ---- pod2, tshark
 *  hop limit 60                                                         56
 * ```
 */
import t, { type Test } from 'tap';

import {
  authentication,
  chained,
  type Extension,
  fragmentHeader,
  innerIpv6Frame,
} from '../unit/inner_ipv6_frame.js';
import { changeOf } from './counter_changes.js';
import { sendPackets } from './replay.js';
import { Scenario } from './scenario.js';
import { overheadBytes, type SelvageDaemon } from './selvage.js';
import { until } from './until.js';
import { Witness } from './witness.js';

const UDP = 17;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const NO_NEXT_HEADER = 59;
const DESTINATION_OPTIONS = 60;
const ENCAPSULATED_SECURITY = 50;
const EXPERIMENT = 253;

const HOPS_SENT = 60;
const HOPS_ARRIVED = 56;
const OFFSET_HOP_LIMIT = 7;
const ETHERNET_BYTES = 14;

interface Row {
  readonly rule: string;
  readonly extensions: readonly Extension[];
  readonly upper: number;
}

/**
 * An options header of `8 * (units + 1)` bytes with one option in it that nobody knows and everybody skips (RFC 4727 section 3.4).
 * Not padding: of that kernels on the way take 7 bytes at most (Linux net/ipv6/exthdrs.c ip6_parse_tlv).
 */
function options(header: number, units: number): Extension {
  const rest = new Uint8Array(8 * (units + 1) - 1);
  rest.set([units, 0x1e, 8 * (units + 1) - 4]);
  return { header, rest };
}

/** A routing header of a type that nobody knows, with no segment left (RFC 8200 section 4.4). */
function routing(): Extension {
  return { header: ROUTING, rest: Uint8Array.of(0, 253, 0, 1, 2, 3, 4) };
}

const ROWS: readonly Row[] = [
  { rule: 'a datagram', extensions: [], upper: UDP },
  { rule: 'hop-by-hop options', extensions: [options(HOP_BY_HOP, 0)], upper: UDP },
  { rule: 'long hop-by-hop options', extensions: [options(HOP_BY_HOP, 8)], upper: UDP },
  { rule: 'destination options', extensions: [options(DESTINATION_OPTIONS, 0)], upper: UDP },
  { rule: 'long destination options', extensions: [options(DESTINATION_OPTIONS, 31)], upper: UDP },
  { rule: 'a routing header', extensions: [routing()], upper: UDP },
  { rule: 'an authentication header', extensions: [authentication()], upper: UDP },
  { rule: 'a first fragment', extensions: [fragmentHeader(0)], upper: UDP },
  { rule: 'a fragment in the middle', extensions: [fragmentHeader(100)], upper: UDP },
  { rule: 'a last fragment', extensions: [fragmentHeader(8191 - 16, false)], upper: UDP },
  { rule: 'an atomic fragment', extensions: [fragmentHeader(0, false)], upper: UDP },
  {
    rule: 'all of them in the order of RFC 8200',
    extensions: [
      options(HOP_BY_HOP, 1),
      options(DESTINATION_OPTIONS, 1),
      routing(),
      fragmentHeader(2),
      authentication(),
      options(DESTINATION_OPTIONS, 2),
    ],
    upper: UDP,
  },
  {
    rule: 'more of them than we read',
    extensions: Array.from({ length: 40 }, () => options(DESTINATION_OPTIONS, 0)),
    upper: UDP,
  },
  { rule: 'nothing at all', extensions: [options(HOP_BY_HOP, 0)], upper: NO_NEXT_HEADER },
  { rule: 'what is encrypted', extensions: [], upper: ENCAPSULATED_SECURITY },
  { rule: 'a protocol nobody knows', extensions: [options(HOP_BY_HOP, 0)], upper: EXPERIMENT },
];

t.setTimeout(180_000);

for (const { underlay, lanes } of [
  { underlay: 'ipv4', lanes: 1 },
  { underlay: 'ipv6', lanes: 2 },
] as const) {
  t.test(`extension headers over ${underlay}, lanes: ${lanes}`, async (t) => {
    const kind = { families: '46', underlay } as const;
    const scenario = await Scenario.open(t, { record: true, packages: ['tshark'] });
    const daemons = await scenario.startPair({ ...kind, extraArgs: ['--lanes', String(lanes)] });
    const mtuBytes = scenario.lab.underlayMtu - overheadBytes(kind);
    await t.test('small', (t) => crosses(t, scenario, daemons, () => 64));
    await t.test('as large as the path takes', (t) =>
      crosses(t, scenario, daemons, (headerBytes) => mtuBytes - headerBytes),
    );
  });
}

/** @param upperBytes of a packet with so many bytes of headers */
async function crosses(
  t: Test,
  { lab }: Scenario,
  daemons: readonly SelvageDaemon[],
  upperBytes: (headerBytes: number) => number,
): Promise<void> {
  const packets = ROWS.map(({ extensions, upper }, i) => {
    const bytes = extensions.reduce((sum, { rest }) => sum + 1 + rest.length, 40);
    const content = new Uint8Array(upperBytes(bytes)).map((_, at) => at * 7 + i);
    const headers = chained(extensions, upper, content);
    return innerIpv6Frame({ ...headers, flowLabel: i + 1, trafficClass: 0x28, hopLimit: HOPS_SENT });
  });
  const [from, to] = [lab.pod(0).ipv6Address, lab.pod(1).ipv6Address];
  const witness = await Witness.start(lab, lab.pod(1), 'eth0', `src host ${from} and dst host ${to}`);
  const change = await changeOf(daemons, async () => {
    const { inbound } = await daemons[1]!.stats();
    const report = await sendPackets(lab, lab.pod(0), packets);
    t.match(report, { sent: packets.length, refused: {} }, 'all are sent');
    await until('all of them', async () => {
      const now = await daemons[1]!.stats();
      return now.inbound.framesReceived >= inbound.framesReceived + packets.length;
    });
  });
  t.match(
    change.inbound[1],
    { framesReceived: packets.length, framesSent: packets.length },
    'none is dropped',
  );

  const arrived = await witness.bytes('ipv6', packets.length);
  await witness.close();
  t.equal(arrived.length, packets.length, 'each arrives once');
  for (const [i, { rule }] of ROWS.entries()) {
    const expected = packets[i]!.slice();
    expected[OFFSET_HOP_LIMIT] = HOPS_ARRIVED;
    const got =
      arrived.find((each) => (each[ETHERNET_BYTES + 3] ?? 0) === i + 1)?.subarray(ETHERNET_BYTES) ?? [];
    t.equal(Buffer.from(got).toString('hex'), Buffer.from(expected).toString('hex'), rule);
  }
}
