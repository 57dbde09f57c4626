/**
 * `selvage trace` on a live network: what it shows is what the pods sent, and independent readers open its captures.
 *
 * ```text
 *  pod1 10.1.1.2 --- host1, selvage <- trace ==== host2, selvage --- pod2 10.1.2.2
 * ```
 *
 * 10.1.77.0/24 is inside the overlay network, but nobody's.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { readPcapng } from '../reference/pcapng_reader.js';
import type { Child } from './child.js';
import { tcp } from './loads.js';
import { Scenario } from './scenario.js';
import { daemonFiles, SELVAGE_MAIN } from './selvage.js';
import { until } from './until.js';

const NOBODYS_ADDRESS = '10.1.77.2';

t.setTimeout(240_000);

t.test('a trace shows the frames that pass, with their verdicts', async (t) => {
  const scenario = await Scenario.open(t, { packages: ['iperf3', 'tshark'] });
  await scenario.startPair();
  const { lab } = scenario;
  const [pod1, pod2] = [lab.pods[0]!, lab.pods[1]!];
  const socket = daemonFiles(lab, 0).socket;
  const start = async (...args: string[]): Promise<Child> => {
    const child = lab.hosts[0]!.spawn(process.execPath, [SELVAGE_MAIN, 'trace', '--socket', socket, ...args]);
    await until('the trace to be on', () => /tracing flannel0/.test(child.stderr));
    return child;
  };
  const end = async (t: Test, child: Child): Promise<void> => {
    child.kill('SIGINT');
    t.equal((await child.exited).code, 0, child.stderr);
  };

  await t.test('a ping is four lines: request out, reply in, each with the hop', async (t) => {
    const trace = await start('--host', pod2.address, '--proto', 'icmp', '--count', '4');
    await pod1.exec('ping', ['-c', '2', '-i', '0.2', pod2.address]);
    t.equal((await trace.exited).code, 0);
    const out =
      /^\d\d:\d\d:\d\d\.\d{3} lane0 out 10\.1\.1\.2 > 10\.1\.2\.2 icmp 84 -> 192\.168\.100\.2:8285$/;
    const back = /^\d\d:\d\d:\d\d\.\d{3} lane0 in {2}10\.1\.2\.2 > 10\.1\.1\.2 icmp 84 <- 192\.168\.100\.2$/;
    const lines = trace.stdout.trimEnd().split('\n');
    t.equal(lines.length, 4);
    for (const [i, line] of lines.entries()) t.match(line, i % 2 === 0 ? out : back);
    t.match(trace.stderr, /4 frames shown, 4 matched/);
  });

  await t.test('--drops shows only what ended here, and why', async (t) => {
    const trace = await start('--drops');
    await pod1.exec('ping', ['-c', '1', pod2.address]);
    await pod1.exec('ping', ['-c', '1', '-W', '1', NOBODYS_ADDRESS], { mayFail: true });
    await until('the drop to be shown', () => trace.stdout.includes('noRoute'));
    await end(t, trace);
    t.match(
      trace.stdout,
      /^\S+ lane0 out 10\.1\.1\.2 > 10\.1\.77\.2 icmp 84 DROP noRoute: No route covers.*\n$/,
    );
  });

  await t.test(
    'under a TCP load, what is shown and what is not add up, and tshark reads the capture',
    async (t) => {
      const file = join(lab.directory, 'trace.pcapng');
      const trace = await start('--proto', 'tcp', '--direction', 'out', '--rate', '200', '--pcap', file);
      await tcp(lab, { seconds: 3 });
      await end(t, trace);
      const [, shown, matched] = /([\d,]+) frames shown, ([\d,]+) matched/.exec(trace.stderr) ?? [];
      const { packets } = readPcapng(readFileSync(file));
      t.equal(packets.length, Number(shown?.replaceAll(',', '')));
      t.ok(Number(matched?.replaceAll(',', '')) > packets.length, trace.stderr);
      t.ok(packets.some(({ comment }) => comment?.includes('superframe of')));
      const read = spawnSync('tshark', ['-r', file, '-T', 'fields', '-e', 'ip.dst', '-e', 'frame.comment'], {
        encoding: 'utf8',
      });
      const rows = read.stdout.trimEnd().split('\n');
      t.equal(rows.length, packets.length, read.stderr);
      t.ok(
        rows.every((row) => /^10\.1\.2\.2\tlane0, .*-> 192\.168\.100\.2:8285$/.test(row)),
        String(rows[0]),
      );
    },
  );

  await t.test('when the daemon stops, the trace says so and ends', async (t) => {
    const trace = await start();
    await scenario.stopAll();
    t.equal((await trace.exited).code, 1);
    t.match(trace.stderr, /the daemon ended the trace/);
  });
});
