/**
 * An underlay that takes less than the pods send: the socket's buffer fills, and what cannot leave is counted.
 *
 * ```text
 *  pod1 --UDP flood--> flannel0 ~ selvage ==> u1, held to 20 Mbit/s by a token bucket ==> selvage --> pod2
 * ```
 */
import t from 'tap';

import { droppedFrames } from '../../src/workers/counters.js';
import { ping, udpFlood } from './loads.js';
import { Scenario } from './scenario.js';
import { until } from './until.js';

t.setTimeout(60_000);

t.test('a full socket buffer costs frames, each counted, and nothing else', async (t) => {
  const scenario = await Scenario.open(t, { packages: ['iperf3'] });
  const { lab } = scenario;
  const [sender, receiver] = await scenario.startPair({ extraArgs: ['--send-buffer', '65536'] });
  // The bucket keeps what it cannot send, and a datagram counts against its socket until it left.
  const bucket = [
    'qdisc',
    'replace',
    'dev',
    'u1',
    'root',
    'tbf',
    'rate',
    '20mbit',
    'burst',
    '10k',
    'limit',
    '100mb',
  ];
  await lab.host(0).exec('tc', bucket);
  await udpFlood(lab, { seconds: 2, bytes: 1000 });
  await lab.host(0).exec('tc', ['qdisc', 'delete', 'dev', 'u1', 'root']);

  const outbound = await until('the lane to be idle', async () => {
    const { outbound } = await sender.stats();
    return outbound.framesReceived === outbound.framesSent + droppedFrames(outbound) && outbound;
  });
  t.ok(outbound.drops.sendBufferFull > 0, `${outbound.drops.sendBufferFull} frames found the buffer full`);
  t.equal(
    droppedFrames(outbound),
    outbound.drops.sendBufferFull,
    'no other reason, and received = sent + dropped',
  );

  const { lost } = await ping(lab, { count: 20 });
  t.equal(lost, 0, 'afterwards all is as before');
  t.equal((await receiver.stats()).inbound.drops.spoofedSource, 0);
});
