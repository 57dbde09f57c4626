/**
 * With `--ip-masq` what a pod sends to an underlay address would leave in its host's name, and so would a datagram to the port of
 * another host: a frame in it would be taken for one of that host, whatever pod of it the frame claims to come from.
 *
 * ```text
 *  pod1 -- UDP to 192.168.100.2:8285, in it a frame "from 10.1.1.77" --> host1, masquerades === host2, runs selvage
 * ```
 */
import t from 'tap';

import { innerFrame } from '../unit/inner_frame.js';
import { sendDatagrams } from './replay.js';
import { Scenario } from './scenario.js';
import { until } from './until.js';

const PORT = 8285;
const COPIES = 5;

t.setTimeout(120_000);

for (const underlay of ['ipv4', 'ipv6'] as const) {
  t.test(`a pod cannot speak in the name of its host, over ${underlay}`, async (t) => {
    const scenario = await Scenario.open(t, { packages: ['nftables'] });
    const { lab } = scenario;
    const extraArgs = ['--ip-masq', '--early-drop=false'];
    const [, two] = await scenario.startPair({ families: '46', underlay, extraArgs });
    const bytes = innerFrame({ source: '10.1.1.77', destination: lab.pod(1).address });
    const records = Array.from({ length: COPIES }, () => ({ bytes }));
    const { publicIp, publicIpv6 } = lab.host(1);
    const target = { address: underlay === 'ipv6' ? publicIpv6 : publicIp, port: PORT };
    const before = (await two.stats()).inbound;
    await sendDatagrams(lab, lab.pod(0), records, target);
    const after = await until('the datagrams', async () => {
      const { inbound } = await two.stats();
      return inbound.framesReceived >= before.framesReceived + COPIES && inbound;
    });
    t.equal(after.framesSent, before.framesSent, 'none gets in');
    t.equal(after.drops.unknownPeer, before.drops.unknownPeer + COPIES, 'as the pod is no peer');
  });
}
