/**
 * Priorities and congestion marks cross the tunnel (RFC 6040, RFC 2983), with tshark as a witness on the underlay.
 *
 * ```text
 *  pod1 ---- host1 flannel0 ~ selvage === router === selvage ~ flannel0 host2 ---- pod2
 *       class c                   outer class c  |  CE by nftables      |    class c, or CE
 *                                                 === host3 ~ selvage --- pod3
 * ```
 */
import t, { type Test } from 'tap';

import { changeOf } from './counter_changes.js';
import type { End, Namespace } from './namespace.js';
import { Scenario } from './scenario.js';
import type { NetworkKind, SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { Witness } from './witness.js';

const MEBIBYTE = 1024 * 1024;
const PORT = 8285;
const NOT_ECT = 0;
const ECT_1 = 1;
const ECT_0 = 2;
const CE = 3;
/** Class selector 1, expedited forwarding, and all six bits of DSCP. */
const PRIORITIES = [0x20, 0xb8, 0xfc];
const TCP_LOAD = { streams: 2, listenBytes: 4 * MEBIBYTE, connectBytes: 4 * MEBIBYTE };

t.setTimeout(300_000);

for (const underlay of ['ipv4', 'ipv6'] as const) {
  t.test(`traffic classes over ${underlay}`, async (t) => {
    const lanes = underlay === 'ipv4' ? 1 : 2;
    const { scenario, daemons } = await open(t, { families: '46', underlay }, ['--lanes', String(lanes)]);
    await copiedOut(t, scenario, underlay);
    await answersHaveTheirOwn(t, scenario, underlay);
    await marked(t, scenario, daemons);
    await transfersUnderMarks(t, scenario, daemons);
  });
}

t.test('--outer-class zero: nothing of it is seen outside', async (t) => {
  const { scenario, daemons } = await open(t, { families: '46' }, ['--outer-class', 'zero']);
  const { lab } = scenario;
  const outside = await Witness.start(lab, lab.router, 'r2', `udp port ${PORT}`);
  const inside = await Witness.start(lab, lab.pod(1), 'eth0');
  for (const end of ends(scenario)) {
    for (const trafficClass of [0xb8 | ECT_0, CE]) await pings(t, lab.pod(0), end, trafficClass, true);
  }
  const seen = await outside.seen(`ip.dst == ${lab.host(1).publicIp}`, 4, 'ip.dsfield');
  t.strictSame([...new Set(seen.flatMap((each) => each['ip.dsfield']).map(Number))], [0], 'outer classes');
  for (const [field, filter] of [
    ['ip.dsfield', 'icmp.type == 8'],
    ['ipv6.tclass', 'icmpv6.type == 128'],
  ] as const) {
    const classes = (await inside.seen(filter, 2, field)).flatMap((each) => each[field]).map(Number);
    t.strictSame(classes, [0xb8 | ECT_0, CE], `inside they are as they were (${field})`);
  }
  await outside.close();
  await inside.close();
  const unmark = await markOnTheWay(scenario, 'ect');
  const change = await changeOf(daemons, async () => {
    for (const end of ends(scenario)) await pings(t, lab.pod(0), end, ECT_0, true);
  });
  t.strictSame(change.inbound[1], { framesReceived: 2, framesSent: 2 }, 'and so it gets no marks on the way');
  await unmark();
});

/** Outer headers have the class of the inner ones: all eight bits, in both families. */
async function copiedOut(t: Test, scenario: Scenario, underlay: 'ipv4' | 'ipv6'): Promise<void> {
  await t.test('DSCP and ECN are copied into the outer header', async (t) => {
    const { lab } = scenario;
    const witness = await Witness.start(lab, lab.router, 'r2', `udp port ${PORT}`);
    const classes = [0, ...PRIORITIES, ECT_1, ECT_0, CE, 0xb8 | ECT_0, 0xff];
    for (const end of ends(scenario)) {
      for (const trafficClass of classes) await pings(t, lab.pod(0), end, trafficClass, true);
    }
    const field = outerField(underlay);
    const seen = await witness.seen(ofSecondHost(scenario, underlay, 'dst'), 2 * classes.length, field);
    await witness.close();
    t.strictSame(
      seen.map((each) => Number(each[field][0])),
      [...classes, ...classes],
    );
  });
}

/** An error has the class of network control, and so has the datagram that carries it. */
async function answersHaveTheirOwn(t: Test, scenario: Scenario, underlay: 'ipv4' | 'ipv6'): Promise<void> {
  await t.test('an ICMP error crosses with its own class', async (t) => {
    const { lab } = scenario;
    const witness = await Witness.start(lab, lab.router, 'r1', `udp port ${PORT}`);
    for (const { address } of ends(scenario)) {
      const hops = ['-n', '-c', '1', '-W', '5', '-t', '3', '-Q', '0x22', address];
      const { stdout } = await lab.pod(0).exec('ping', hops, { mayFail: true });
      t.match(stdout, /Time (to live )?exceeded/i);
    }
    const field = outerField(underlay);
    const seen = await witness.seen(ofSecondHost(scenario, underlay, 'src'), 2, field);
    await witness.close();
    t.strictSame(
      seen.map((each) => Number(each[field][0])),
      [0xc0, 0xc0],
    );
  });
}

async function marked(t: Test, scenario: Scenario, daemons: readonly SelvageDaemon[]): Promise<void> {
  const { lab } = scenario;
  const unmark = await markOnTheWay(scenario, 'ect');
  const inside = await Witness.start(lab, lab.pod(1), 'eth0');
  const sent = [0xb8 | ECT_0, ECT_1, CE];
  await t.test('a mark that was set on the way arrives inside', async (t) => {
    const change = await changeOf(daemons, async () => {
      for (const end of ends(scenario)) {
        for (const trafficClass of sent) await pings(t, lab.pod(0), end, trafficClass, true);
      }
    });
    t.strictSame(change.inbound[1], { framesReceived: 6, framesSent: 6 }, 'all of them');
    const expected = [0xb8 | CE, CE, CE];
    const ipv4 = await inside.seen('icmp.type == 8', sent.length, 'ip.dsfield', 'ip.checksum.status');
    t.strictSame(
      ipv4.map((each) => Number(each['ip.dsfield'][0])),
      expected,
      'IPv4: CE, and DSCP as it was',
    );
    for (const each of ipv4) t.equal(each['ip.checksum.status'][0], '1', 'the header checksum is right');
    const ipv6 = await inside.seen(
      'icmpv6.type == 128',
      sent.length,
      'ipv6.tclass',
      'icmpv6.checksum.status',
    );
    t.strictSame(
      ipv6.map((each) => Number(each['ipv6.tclass'][0])),
      expected,
      'IPv6: the same',
    );
    for (const each of ipv6) t.equal(each['icmpv6.checksum.status'][0], '1', 'nothing else has changed');
  });
  await inside.close();
  await unmark();

  await t.test('a mark on what knows no marks is a loss, counted and not answered', async (t) => {
    const unmarkAll = await markOnTheWay(scenario, 'all');
    const change = await changeOf(daemons, async () => {
      for (const end of ends(scenario)) await pings(t, lab.pod(0), end, 0xb8 | NOT_ECT, false);
    });
    await unmarkAll();
    t.strictSame(change.inbound[1], { framesReceived: 2, 'drops.ecnNotCapable': 2 });
    t.strictSame(change.outbound[1], {}, 'nobody is told');
    for (const end of ends(scenario)) await pings(t, lab.pod(0), end, 0xb8, true);
  });
}

/** Congestion on a wire that takes single datagrams: marks come between frames that are joined on both sides of it. */
async function transfersUnderMarks(
  t: Test,
  scenario: Scenario,
  daemons: readonly SelvageDaemon[],
): Promise<void> {
  await t.test('TCP with ECN is whole under marks, and none of it is lost', async (t) => {
    const { lab } = scenario;
    const [from, to] = [lab.pod(0), lab.pod(1)];
    await lab.offload('wire');
    for (const pod of [from, to]) await pod.sysctl({ 'net/ipv4/tcp_ecn': 1 }); // asks for it; by default it only agrees
    const unmark = await markOnTheWay(scenario, 'some ect');
    const before = [await marksReceived(to), await daemons[1]!.stats()] as const;
    const change = await changeOf(daemons, async () => {
      await Promise.all([
        checkedTcp(t, from, to, TCP_LOAD, 'TCP over IPv4'),
        checkedTcp(t, from.ipv6, to.ipv6, TCP_LOAD, 'TCP over IPv6, at the same time'),
      ]);
    });
    const after = [await marksReceived(to), await daemons[1]!.stats()] as const;
    await unmark();
    t.ok(after[0].ipv4 > before[0].ipv4, `marks arrive over IPv4 (${after[0].ipv4 - before[0].ipv4})`);
    t.ok(after[0].ipv6 > before[0].ipv6, `and over IPv6 (${after[0].ipv6 - before[0].ipv6})`);
    t.notOk(change.inbound[1]!['drops.ecnNotCapable'], 'what the sender said of itself has crossed');
    const joined = after[1].inbound.superframesReceived + after[1].inbound.superframesSent;
    const joinedBefore = before[1].inbound.superframesReceived + before[1].inbound.superframesSent;
    t.ok(joined > joinedBefore, `frames were joined all the same (${joined - joinedBefore} superframes)`);
  });
}

async function open(
  t: Test,
  kind: NetworkKind,
  extraArgs: readonly string[],
): Promise<{ scenario: Scenario; daemons: SelvageDaemon[] }> {
  const packages = ['tshark'] as const;
  const scenario = await Scenario.open(t, { hosts: 3, router: true, record: true, packages });
  return { scenario, daemons: await scenario.startAll({ ...kind, extraArgs }) };
}

/** The second pod, by each family. */
function ends({ lab }: Scenario): readonly [End, End] {
  return [lab.pod(1), lab.pod(1).ipv6];
}

function outerField(underlay: 'ipv4' | 'ipv6'): 'ip.dsfield' | 'ipv6.tclass' {
  return underlay === 'ipv4' ? 'ip.dsfield' : 'ipv6.tclass';
}

/** A filter of tshark for datagrams from or to the second host. */
function ofSecondHost({ lab }: Scenario, underlay: 'ipv4' | 'ipv6', end: 'src' | 'dst'): string {
  const { publicIp, publicIpv6 } = lab.host(1);
  return underlay === 'ipv4' ? `ip.${end} == ${publicIp}` : `ipv6.${end} == ${publicIpv6}`;
}

/** One echo request of a class; asserts that it is answered, or that it is not. */
async function pings(t: Test, from: End, to: End, trafficClass: number, isAnswered: boolean): Promise<void> {
  const args = ['-n', '-c', '1', '-W', isAnswered ? '5' : '1', '-Q', String(trafficClass), to.address];
  const { code } = await from.exec('ping', args, { mayFail: true });
  t.equal(
    code === 0,
    isAnswered,
    `${to.address}, class ${trafficClass}: ${isAnswered ? 'answered' : 'lost'}`,
  );
}

/** Which datagrams to the second host get a mark, and another priority: of those that are ECN-capable all or one in ten; or simply all. */
type Marked = 'ect' | 'some ect' | 'all';

/** From now on the router does so. @returns what ends it */
async function markOnTheWay({ lab }: Scenario, which: Marked): Promise<() => Promise<void>> {
  const rules = (['ip', 'ip6'] as const).map((family) => {
    const capable = which === 'all' ? '' : `${family} ecn != not-ect`;
    const share = which === 'some ect' ? 'numgen inc mod 10 == 0' : '';
    return `oifname r2 udp dport ${PORT} ${capable} ${share} ${family} ecn set ce ${family} dscp set cs7`;
  });
  const chain = `type filter hook forward priority 0;\n${rules.join('\n')}`;
  const input = `table inet congested {\nchain rules {\n${chain}\n}\n}\n`;
  await lab.router.exec('nft', ['-f', '-'], { input });
  return async () => {
    await lab.router.exec('nft', ['delete', 'table', 'inet', 'congested']);
  };
}

/** Packets with CE that a pod's kernel has received. */
async function marksReceived(pod: Namespace): Promise<{ ipv4: number; ipv6: number }> {
  const { stdout } = await pod.exec('cat', ['/proc/net/netstat', '/proc/net/snmp6']);
  const [names = '', values = ''] = stdout.split('\n').filter((line) => line.startsWith('IpExt:'));
  const column = names.split(' ').indexOf('InCEPkts');
  return {
    ipv4: Number(values.split(' ')[column]),
    ipv6: Number(/^Ip6InCEPkts\s+(\d+)/m.exec(stdout)?.[1]),
  };
}
