/**
 * `selvage check` against paths that are well, and against each way in which the lab can break one.
 *
 * ```text
 *  host1: selvage run, selvage check ~ u1 --- router --- u2 ~ host2: selvage run --- pod2
 * ```
 */
import t, { type Test } from 'tap';

import type { Finding, PathReport } from '../../src/index.js';
import type { CommandResult } from './child.js';
import { Scenario } from './scenario.js';
import { type NetworkKind, type SelvageDaemon, SELVAGE_MAIN } from './selvage.js';

const CHECK_SECONDS = 60;
const OK = 0;
const FAULT = 1;
const USAGE = 2;
const UNCHECKED = 3;

t.setTimeout(240_000);

interface Checked {
  readonly code: number | null;
  readonly findings: readonly Finding[];
  readonly codes: readonly string[];
  readonly report: PathReport;
}

/** A lab behind a router with a daemon on each host, and `selvage check` on the first. */
class CheckScenario {
  readonly scenario: Scenario;
  readonly daemons: readonly SelvageDaemon[];

  private constructor(scenario: Scenario, daemons: readonly SelvageDaemon[]) {
    this.scenario = scenario;
    this.daemons = daemons;
  }

  static async open(t: Test, kind: NetworkKind): Promise<CheckScenario> {
    const scenario = await Scenario.open(t, { router: true, hosts: 2, packages: ['nftables'] });
    return new CheckScenario(scenario, await scenario.startAll(kind));
  }

  get lab() {
    return this.scenario.lab;
  }

  command(args: readonly string[], prefix: readonly string[] = []): Promise<CommandResult> {
    const socket = ['--socket', this.daemons[0]!.files.socket];
    const [command, ...rest] = [...prefix, process.execPath, SELVAGE_MAIN, 'check', ...socket, ...args];
    return this.lab.host(0).exec(command!, rest, { mayFail: true, timeoutSeconds: CHECK_SECONDS });
  }

  async check(args: readonly string[] = [], prefix: readonly string[] = []): Promise<Checked> {
    const { code, stdout, stderr } = await this.command(['--json', ...args], prefix);
    if (stdout === '') throw new Error(`exit code ${code}: ${stderr}`);
    const report = JSON.parse(stdout) as PathReport;
    const { findings } = report;
    const codes = findings.filter(({ severity }) => severity !== 'ok').map((finding) => finding.code);
    return { code, findings, codes, report };
  }
}

const KINDS: readonly { kind: NetworkKind; overhead: number; label: string }[] = [
  { kind: { families: '46' }, overhead: 28, label: 'both families over IPv4' },
  { kind: { families: '46', underlay: 'ipv6' }, overhead: 48, label: 'both families over IPv6' },
];

for (const { kind, overhead, label } of KINDS) {
  t.test(`${label}: what is well is told so, with the sizes that pass`, async (t) => {
    const check = await CheckScenario.open(t, kind);
    const { lab } = check;
    const [peer] = (await check.check()).report.facts.peers;
    const all = await check.check();
    t.strictSame(all.codes, [], 'no warning and no fault');
    t.equal(all.code, OK);
    t.equal(peer?.underlay?.largestBytes, lab.underlayMtu);
    const full = peer?.inner.map((inner) => [inner.address, inner.full?.bytes, inner.full?.outcome.kind]);
    const frameBytes = lab.underlayMtu - overhead;
    t.strictSame(full, [
      [lab.host(1).tunIp, frameBytes, 'answered'],
      [lab.host(1).tunIpv6, frameBytes, 'answered'],
    ]);
    for (const address of [lab.pod(1).address, lab.pod(1).ipv6Address]) {
      const inner = await check.check([address]);
      t.strictSame(inner.codes, [], `${address}: no warning and no fault`);
      t.equal(inner.code, OK);
      const answered = inner.findings.filter(({ code }) => code === 'innerAnswers');
      t.equal(answered.length, 2, 'the device of its host and the address');
    }

    if (overhead !== 28) return;
    await t.test('text says the same', async (t) => {
      const { code, stdout, stderr } = await check.command([]);
      t.equal(code, OK);
      t.match(stdout, /^flannel0 \(.*\)\ndaemon\n {2}ok /);
      t.match(stdout, /frames of 1472 bytes pass/);
      t.match(stdout, /\nno faults, no warnings\n$/);
      t.equal(stderr, '', 'no progress where there is no terminal');
    });
  });
}

t.test('one cause after the other is named', async (t) => {
  const check = await CheckScenario.open(t, { families: '4' });
  const { lab } = check;
  const [host1, host2] = [lab.host(0), lab.host(1)];

  await t.test('addresses that lead nowhere', async (t) => {
    const cases = [
      { address: '10.1.77.5', codes: ['noRoute'] },
      { address: '203.0.113.5', codes: ['notInNetwork'] },
      { address: '10.1.2.99', codes: ['addressSilent'] },
      { address: '10.1.1.2', codes: [] },
      { address: '10.1.1.99', codes: ['localSilent'] },
    ];
    for (const { address, codes } of cases) {
      const checked = await check.check([address]);
      t.strictSame(checked.codes, codes, address);
      t.equal(checked.code, codes.length === 0 ? OK : FAULT, address);
      const mute = checked.findings.filter((finding) => finding.severity !== 'ok' && finding.remedy === null);
      t.strictSame(mute, [], `${address}: each has a remedy`);
    }
  });

  await t.test('mistakes on the command line end with 2, and no daemon with 3', async (t) => {
    t.match(await check.command(['somewhere']), { code: USAGE, stdout: '', stderr: /"somewhere"/ });
    const nowhere = await check.command(['--socket', '/nowhere.sock']);
    t.match(nowhere, { code: UNCHECKED, stdout: '', stderr: /no selvage runs there/ });
  });

  await t.test('without the privilege what is left is looked at, and that is said', async (t) => {
    const checked = await check.check([], ['setpriv', '--bounding-set=-net_raw']);
    t.strictSame(checked.codes, ['noProbes']);
    t.equal(checked.code, UNCHECKED);
    t.match(checked.findings.find(({ code }) => code === 'noProbes')?.remedy, /CAP_NET_RAW/);
  });

  await t.test('a path that swallows large packets', async (t) => {
    const undo = await lab.dropLarge(1, 1400);
    const checked = await check.check();
    await undo();
    t.strictSame([...checked.codes].sort(), ['fullSizeLost', 'underlayNarrow']);
    t.equal(checked.code, FAULT);
    t.equal(checked.report.facts.peers[0]?.underlay?.largestBytes, 1400, 'to the byte');
    t.match(checked.findings.find(({ code }) => code === 'underlayNarrow')?.remedy, /--mtu 1372/);
  });

  await t.test('a path that tells what it takes', async (t) => {
    const undo = await lab.setRouterMtu(1, 1300);
    const checked = await check.check();
    await undo();
    await lab.forgetPathMtu();
    t.equal(checked.report.facts.peers[0]?.underlay?.largestBytes, 1300);
    t.notOk(checked.codes.includes('underlayUnreachable'));
    t.ok(checked.codes.some((code) => /Narrow/.test(code)));
  });

  await t.test("a firewall that loses the peer's datagrams", async (t) => {
    const chain = 'chain rules {\ntype filter hook input priority 0;\nudp dport 8285 drop;\n}\n';
    await host2.exec('nft', ['-f', '-'], { input: `table ip test {\n${chain}}\n` });
    const checked = await check.check([host2.publicIp]);
    const ping = lab.pod(1).spawn('ping', ['-i', '0.2', lab.pod(0).address]);
    const heard = await check.check([host2.publicIp]);
    ping.kill('SIGINT');
    await host2.exec('nft', ['delete', 'table', 'ip', 'test']);
    // The path was narrow a moment ago, and the daemon asks the kernel again every 15 seconds only.
    const codesOf = ({ codes }: typeof checked): string[] => codes.filter((code) => code !== 'pathNarrow');
    t.strictSame(codesOf(checked), ['innerSilent']);
    t.equal(checked.report.facts.peers[0]?.listener?.kind, 'silent');
    t.strictSame(codesOf(heard), ['oneWay'], 'that its frames arrive is told, and does not hide it');
  });

  await t.test('a route of the kernel that goes elsewhere', async (t) => {
    await host1.ip(`route add ${host2.tunIp} via ${lab.pod(0).address} dev cni0`);
    const checked = await check.check();
    await host1.ip(`route del ${host2.tunIp}`);
    t.ok(checked.codes.includes('kernelRouteElsewhere'));
    t.match(checked.findings.find(({ code }) => code === 'kernelRouteElsewhere')?.message, /to cni0/);
  });

  await t.test('a daemon that is gone, and then its host', async (t) => {
    await check.daemons[1]!.stop();
    const refused = await check.check([host2.publicIp]);
    t.strictSame(refused.codes, ['portClosed', 'innerSilent']);
    t.match(refused.findings.find(({ code }) => code === 'innerSilent')?.remedy, /start the daemon/);
    await lab.router.ip('link set r2 down');
    const away = await check.check([lab.pod(1).address]);
    t.equal(away.code, FAULT);
    t.ok(
      away.codes.includes('underlayUnreachable') || away.codes.includes('underlaySilent'),
      away.codes.join(' '),
    );
    t.ok(away.codes.includes('addressSilent'));
  });
});
