/**
 * The overlay's MTU is what the underlay interface leaves of its own, also when that changes.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { LabHost } from './lab.js';
import { passes } from './paths.js';
import { Scenario } from './scenario.js';
import { type LogLine, overheadBytes, type SelvageDaemon } from './selvage.js';
import { checkedTcp } from './transfers.js';
import { until } from './until.js';

const MEBIBYTE = 1024 * 1024;
const SECONDS = 30;

t.setTimeout(120_000);

async function tunMtu(host: LabHost): Promise<number> {
  const { stdout } = await host.exec('ip', ['-j', 'link', 'show', 'flannel0']);
  return (JSON.parse(stdout) as [{ mtu: number }])[0].mtu;
}

/** The MTU as everybody who can be asked knows it. */
async function mtuEverywhere(daemon: SelvageDaemon, host: LabHost, subnetEnv: string): Promise<unknown> {
  const { forwarder, underlay } = await daemon.status();
  const ofPods = existsSync(subnetEnv) && /^FLANNEL_MTU=(\d+)$/m.exec(readFileSync(subnetEnv, 'utf8'))?.[1];
  return {
    device: await tunMtu(host),
    status: forwarder?.device.mtuBytes,
    subnetEnv: Number(ofPods),
    underlay: underlay?.mtuBytes,
  };
}

function tellsMtu(bytes: number): (line: LogLine) => boolean {
  return ({ msg, mtu }) => msg.startsWith('the underlay has another MTU') && mtu === bytes;
}

for (const underlay of ['ipv4', 'ipv6'] as const) {
  t.test(
    `the MTU of an ${underlay} underlay interface is followed, both ways, under a transfer`,
    async (t) => {
      const scenario = await Scenario.open(t);
      const { lab } = scenario;
      const files = lab.hosts.map(({ label }) => join(lab.directory, `${label}-pods.env`));
      const kind = { families: '46', underlay } as const;
      const daemons = [
        await scenario.start(0, { ...kind, extraArgs: ['--subnet-file', files[0]!] }),
        await scenario.start(1, { ...kind, extraArgs: ['--subnet-file', files[1]!] }),
      ];
      const [pod1, pod2] = [lab.pod(0), lab.pod(1)];
      const overhead = overheadBytes(kind);
      const expect = async (bytes: number, rule: string): Promise<void> => {
        for (const [i, daemon] of daemons.entries()) {
          const known = { device: bytes, status: bytes, subnetEnv: bytes, underlay: bytes + overhead };
          const isKnown = async (): Promise<boolean> => {
            const now = await mtuEverywhere(daemon, lab.host(i), files[i]!);
            return JSON.stringify(now) === JSON.stringify(known);
          };
          t.ok(await until(`${rule} on host${i + 1}`, isKnown, SECONDS), `${rule} on host${i + 1}`);
        }
      };
      const setUnderlay = async (bytes: number): Promise<void> => {
        for (const host of lab.hosts) await host.ip(`link set ${host.underlay} mtu ${bytes}`);
      };

      await expect(1500 - overhead, 'the default is what the interface leaves');
      await lab.setPodMtu(1500 - overhead);
      let running = true;
      const load = { streams: 2, listenBytes: 16 * MEBIBYTE, connectBytes: 256 * MEBIBYTE };
      const transfer = checkedTcp(t, pod1, pod2, load, 'across the change').finally(() => (running = false));
      await until('the transfer to be under way', async () => {
        const { forwarder } = await daemons[0]!.status();
        return (forwarder?.outbound.bytesSent ?? 0) > MEBIBYTE;
      });
      await setUnderlay(1400);
      t.ok(running, 'the transfer was under way');
      await expect(1400 - overhead, 'a smaller one is followed');
      for (const daemon of daemons) await daemon.logged(tellsMtu(1400 - overhead), SECONDS);
      await transfer;
      t.ok(await passes(pod1, pod2, 1400 - overhead, { cutting: 'do' }), 'the largest packet passes');
      t.ok(await passes(pod1, pod2, 1500 - overhead, { cutting: 'dont' }), 'a larger one in fragments');

      await setUnderlay(1500);
      await expect(1500 - overhead, 'and a larger one');
      for (const daemon of daemons) await daemon.logged(tellsMtu(1500 - overhead), SECONDS);
      await until('the pods to forget what they were told', async () => {
        await lab.forgetPathMtu();
        return passes(pod1, pod2, 1500 - overhead, { cutting: 'do' });
      });
    },
  );
}

t.test('an MTU that is set by --mtu follows nothing', async (t) => {
  const scenario = await Scenario.open(t);
  const { lab } = scenario;
  const fixed = await scenario.start(0, { extraArgs: ['--mtu', '1400'] });
  const following = await scenario.start(1, {});
  for (const host of lab.hosts) await host.ip(`link set ${host.underlay} mtu 1300`);
  await following.logged(tellsMtu(1300 - 28), SECONDS);
  t.equal(await tunMtu(lab.host(0)), 1400);
  t.equal((await fixed.status()).forwarder?.device.mtuBytes, 1400);
  t.notOk(fixed.log.some(({ msg }) => msg.startsWith('the underlay has another MTU')));
  await lab.setPodMtu(1300);
  t.ok(
    await until('what is too large for it to be cut', () =>
      passes(lab.pod(0), lab.pod(1), 1300, { cutting: 'dont' }),
    ),
    'the underlay is a path with a smaller MTU then',
  );
});

t.test('an interface that is too narrow for IPv6 is refused', async (t) => {
  const scenario = await Scenario.open(t);
  const { lab } = scenario;
  const host = lab.host(0);
  const reason = 'the MTU of u1, 1300, leaves less than 1280, which IPv6 needs: raise it';
  await host.ip(`link set ${host.underlay} mtu 1300`);

  const refused = await scenario.start(0, { families: '46', started: 'spawned' });
  const { code } = await refused.child.exited;
  t.not(code, 0, 'at the start it ends');
  t.ok(`${refused.child.stderr}`.includes(reason), 'with the reason');

  const plain = await scenario.start(0, { families: '4' });
  t.equal(await tunMtu(host), 1300 - 28, 'a network without IPv6 needs less');
  await plain.stop();

  await host.ip(`link set ${host.underlay} mtu 1500`);
  const daemon = await scenario.start(0, { families: '46' });
  await host.ip(`link set ${host.underlay} mtu 1300`);
  await daemon.logged(({ msg }) => msg.includes(reason), SECONDS);
  t.equal(await tunMtu(host), 1472, 'while it runs the overlay keeps its MTU');
  await host.ip(`link set ${host.underlay} mtu 1400`);
  await daemon.logged(tellsMtu(1400 - 28), SECONDS);
  t.equal(await tunMtu(host), 1400 - 28, 'until the underlay has enough again');
});
