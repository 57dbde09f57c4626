/**
 * traceroute and tracepath between pods of three hosts show each hop, in both families and whatever they send.
 *
 * ```text
 *  pod1 ---- cni0 host1 flannel0 ~ selvage === router === selvage ~ flannel0 host2 cni0 ---- pod2
 *             1            2                                 3, and 4: host2's kernel          5
 *                                              \
 *                                               === host3, pod3
 * ```
 *
 * Hop 2 ends in the lane that sends and hop 3 in the lane that receives; each answers with its device's address. Hop 4 ends in
 * host2's kernel, which answers with the address of the device that the packet came in by: flannel0's once more.
 */
import t, { type Test } from 'tap';

import { changeOf } from './counter_changes.js';
import type { LabPod } from './lab.js';
import { Scenario } from './scenario.js';
import { overheadBytes, type SelvageDaemon } from './selvage.js';

const MODES = [
  { name: 'ICMP', args: ['-I'] },
  { name: 'UDP to rising ports', args: [] },
  { name: 'UDP to one port', args: ['-U', '-p', '53'] },
  { name: 'TCP', args: ['-T', '-p', '7001'] },
] as const;
t.setTimeout(240_000);

for (const underlay of ['ipv4', 'ipv6'] as const) {
  t.test(`the way of packets over ${underlay}`, async (t) => {
    const packages = ['traceroute', 'iputils-tracepath'] as const;
    const scenario = await Scenario.open(t, { hosts: 3, router: true, record: true, packages });
    const { lab } = scenario;
    const kind = { families: '46', underlay } as const;
    const daemons = await scenario.startAll(kind);
    const mtuBytes = lab.underlayMtu - overheadBytes(kind);
    const pairs = [
      [lab.pod(0), lab.pod(1)],
      [lab.pod(2), lab.pod(0)],
    ] as const;
    for (const [from, to] of pairs) {
      for (const { name, args } of MODES) {
        await t.test(`${name}, ${from.label} to ${to.label}`, async (t) => {
          await showsEachHop(t, daemons, from, to, args);
        });
      }
    }
    await t.test('tracepath', (t) => tracesPath(t, lab.pod(0), lab.pod(1), mtuBytes));
  });
}

async function showsEachHop(
  t: Test,
  daemons: readonly SelvageDaemon[],
  from: LabPod,
  to: LabPod,
  mode: readonly string[],
): Promise<void> {
  for (const end of [to, to.ipv6]) {
    const change = await changeOf(daemons, async () => {
      const args = ['-n', '-q', '1', '-w', '5', '-m', '8', ...mode, end.address];
      const { stdout } = await from.exec('traceroute', args, { timeoutSeconds: 60 });
      const hops = [...stdout.matchAll(/^ *\d+ +(\S+)/gm)].map((match) => match[1]);
      t.strictSame(hops, hopsBetween(from, to, end.address), `${from.label} to ${end.address}`);
    });
    const [near, far] = [change.outbound[from.number - 1], change.inbound[to.number - 1]];
    t.match(near, { 'drops.ttlExceeded': 1, answersSent: 1 }, 'one probe ended in the lane that sends');
    t.match(far, { 'drops.ttlExceeded': 1, answersSent: 1 }, 'and one in the lane that receives');
  }
}

async function tracesPath(t: Test, from: LabPod, to: LabPod, mtuBytes: number): Promise<void> {
  for (const end of [to, to.ipv6]) {
    const { stdout } = await from.exec('tracepath', ['-n', '-m', '8', end.address], { timeoutSeconds: 60 });
    const byNumber = new Map([...stdout.matchAll(/^ *(\d+): +(\S+)/gm)].map(([, hop, who]) => [hop, who]));
    t.strictSame([...byNumber.values()], hopsBetween(from, to, end.address), `to ${end.address}`);
    t.match(stdout, new RegExp(`pmtu ${mtuBytes} hops 5 back 5`), `and the MTU of ${mtuBytes} bytes`);
  }
}

/** Bridge, device of this host, device and kernel of the other, pod. */
function hopsBetween(from: LabPod, to: LabPod, address: string): string[] {
  const [near, far] = address.includes(':')
    ? [`fd00:1:${from.number}::`, `fd00:1:${to.number}::`]
    : [`10.1.${from.number}.`, `10.1.${to.number}.`];
  const device = address.includes(':') ? '' : '0';
  return [`${near}1`, near + device, far + device, far + device, address];
}
