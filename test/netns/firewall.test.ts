/**
 * Firewall rules that really masquerade and accept, and stay as they were asked for.
 *
 * ```text
 *  pod1 --- cni0  host1  u1 192.168.100.1 ---------- u2 192.168.100.2  host2  cni0 --- pod2
 *  10.1.1.2          |   f1 10.1.1.0 --- "overlay" --- f2 10.1.2.0     |           10.1.2.2
 *                  rules (N 10.1.0.0/16, L 10.1.1.0/24; the same in IPv6)
 * ```
 *
 * host2 is also the outside: its underlay address is in no overlay network, and it knows the way back to pod1.
 */
import { chmodSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import type { FirewallOptions } from '../../src/host/firewall.js';
import type { Lab } from './lab.js';
import type { Namespace } from './namespace.js';
import { evaluate, Program } from './program.js';
import { Scenario } from './scenario.js';
import { startTool, startToolUntil } from './tool.js';
import { until } from './until.js';

t.setTimeout(120_000);

type Options = Omit<FirewallOptions, 'onRepair' | 'onWarning' | 'onError' | 'onRecovery'>;
/** What `Firewall.update` takes. */
type Update = [tunName: string, networks: Options['networks']];
type News =
  | { event: 'open'; warnings: string[] }
  | { event: 'recovery' }
  | { event: 'repair' | 'warning' | 'error'; message: string }
  | { event: 'refused'; code: string; message: string };

const PORT = 7000;
const TABLE = 'selvage-flannel0';
const NETWORKS = [
  { network: '10.1.0.0/16', subnet: '10.1.1.0/24', port: 8285 },
  { network: 'fd00:1::/32', subnet: 'fd00:1:1::/64', port: 8285 },
];
const OTHERS = [{ network: '10.2.0.0/16', subnet: '10.2.1.0/24', port: 8285 }];
const OPTIONS: Options = { tunName: 'flannel0', masquerade: true, forward: true, networks: NETWORKS };
/** Often, so that no test waits for it. */
const OFTEN = { ...OPTIONS, resyncSeconds: 0.02 };

/** Keeps rules until SIGTERM; SIGUSR2 changes device and networks to `input.then`. Commands are looked for in `input.path`. */
const KEEP = `
  const { Firewall } = await load('host/firewall.js');
  if (input.path !== undefined) process.env.PATH = input.path;
  const news = (event) => (what) => tell({ event, message: what.message ?? what });
  try {
    const firewall = await Firewall.open({
      ...input.options, onRepair: news('repair'), onWarning: news('warning'), onError: news('error'),
      onRecovery: () => tell({ event: 'recovery' }),
    });
    const life = setInterval(() => undefined, 1000);
    process.on('SIGTERM', () => firewall.close().then(() => clearInterval(life)));
    process.on('SIGUSR2', () => firewall.update(...input.then).then(() => tell({ event: 'updated' })));
    tell({ event: 'open', warnings: firewall.warnings });
  } catch ({ code, message }) {
    tell({ event: 'refused', code, message });
  }`;

/** Asks for a firewall in host1. @returns the program, which has told that the rules are in, or why not */
async function ask(lab: Lab, options: Options, then?: Update, path?: string): Promise<Program> {
  const program = new Program(lab.host(0), KEEP, { options, then, path });
  await until('an answer', () => {
    if (!program.child.running) return true;
    return (program.told as News[]).some(({ event }) => event === 'open' || event === 'refused');
  });
  return program;
}

/** The same, where it must succeed. */
async function keep(lab: Lab, options: Options, then?: Update, path?: string): Promise<Program> {
  const program = await ask(lab, options, then, path);
  if ((program.told as News[]).some(({ event }) => event === 'open')) return program;
  throw new Error(JSON.stringify(program.told) + program.child.stderr);
}

function newsOf(program: Program, event: News['event']): string[] {
  return (program.told as News[]).flatMap((each) =>
    each.event === event && 'message' in each ? [each.message] : [],
  );
}

async function end(program: Program): Promise<void> {
  program.child.kill('SIGTERM');
  const { code } = await program.child.exited;
  if (code !== 0) throw new Error(program.child.stderr);
}

async function openLab(t: Test): Promise<Lab> {
  const { lab } = await Scenario.open(t, { packages: ['nftables', 'iptables'] });
  const [one, two] = [lab.host(0), lab.host(1)];
  await one.ip(`link add f1 type veth peer name f2 netns ${two.name}`);
  for (const [host, other] of [
    [one, two],
    [two, one],
  ] as const) {
    const device = `f${host.number}`;
    await host.ip(`
      addr add ${host.tunIp}/32 dev ${device}
      addr add ${host.tunIpv6}/128 dev ${device}
      link set ${device} up
      route add ${other.subnet} via ${other.tunIp} dev ${device} onlink
      route add ${other.ipv6Subnet} via fe80::${other.number} dev ${device}
      addr add fe80::${host.number}/64 dev ${device}`);
  }
  return lab;
}

interface Places {
  readonly pod1: string;
  readonly pod2: string;
  readonly host1: string;
  readonly host2: string;
  readonly overlay1: string;
}

const FAMILIES: Record<string, Places> = {
  IPv4: {
    pod1: '10.1.1.2',
    pod2: '10.1.2.2',
    host1: '192.168.100.1',
    host2: '192.168.100.2',
    overlay1: '10.1.1.0',
  },
  IPv6: {
    pod1: 'fd00:1:1::2',
    pod2: 'fd00:1:2::2',
    host1: 'fd00:c0::1',
    host2: 'fd00:c0::2',
    overlay1: 'fd00:1:1::',
  },
};

async function serve(lab: Lab, { pod1, pod2, host2 }: Places): Promise<void> {
  await startToolUntil('listening', lab.pod(0), 'udp_source', 'serve', pod1, PORT);
  await startToolUntil('listening', lab.pod(1), 'udp_source', 'serve', pod2, PORT);
  await startToolUntil('listening', lab.host(1), 'udp_source', 'serve', host2, PORT);
}

/** The source address that the server at `to` sees, or "nothing". */
async function sourceSeen(from: Namespace, to: string, own?: string): Promise<string> {
  const child = startTool(from, 'udp_source', 'ask', to, PORT, ...(own === undefined ? [] : [own]));
  return (await child.result(20)).stdout.trim();
}

function nft(lab: Lab, ...words: string[]): Promise<{ stdout: string }> {
  return lab.host(0).exec('nft', words);
}

t.test('who sees which source address', async (t) => {
  const lab = await openLab(t);
  const [pod1, pod2, host1, host2] = [lab.pod(0), lab.pod(1), lab.host(0), lab.host(1)];
  for (const places of Object.values(FAMILIES)) await serve(lab, places);
  for (const [family, at] of Object.entries(FAMILIES)) {
    t.equal(await sourceSeen(pod1, at.host2), at.pod1, `${family}, no rules: the lab itself hides nothing`);
  }
  const program = await keep(lab, { ...OPTIONS, resyncSeconds: 0 });

  for (const [family, at] of Object.entries(FAMILIES)) {
    await t.test(family, async (t) => {
      t.equal(await sourceSeen(pod1, at.host2), at.host1, 'a pod, outside: masqueraded');
      t.equal(await sourceSeen(pod1, at.pod2), at.pod1, 'a local pod, at a remote one: kept');
      t.equal(await sourceSeen(pod2, at.pod1), at.pod2, 'a remote pod, at a local one: kept');
      t.equal(await sourceSeen(host1, at.pod1, at.host1), at.host1, 'this host, at a local pod: kept');
      t.equal(
        await sourceSeen(host1, at.pod2, at.host1),
        at.overlay1,
        'this host, at a remote pod: masqueraded, or no answer could come back by the overlay',
      );
      t.equal(
        await sourceSeen(host2, at.pod1, at.host2),
        at.host2,
        'a client from outside, at a local pod: kept',
      );
    });
  }

  await t.test('to a multicast group the source is kept', async (t) => {
    const group = '239.1.1.1';
    const ear = await startToolUntil('listening', host2, 'udp_source', 'hear', group, PORT, '192.168.100.2');
    await startTool(host1, 'udp_source', 'call', group, PORT, '10.1.1.1', '192.168.100.1').exited;
    await until('the datagram', () => ear.stdout.split('\n').length > 2);
    t.equal(ear.stdout.split('\n')[1], '10.1.1.1');
  });

  await t.test("kube-proxy's mark among other bits keeps the source; other bits alone do not", async (t) => {
    const { pod1: own, host2: outside, host1: here } = FAMILIES['IPv4']!;
    for (const [mark, expected] of [
      ['0x4000', own],
      ['0xc001', own],
      ['0x8001', here],
    ] as const) {
      await host1.exec('nft', ['-f', '-'], {
        input: `table ip marks
          delete table ip marks
          table ip marks { chain c { type filter hook prerouting priority mangle; meta mark set ${mark}; }; }`,
      });
      t.equal(await sourceSeen(pod1, outside), expected, mark);
    }
    await nft(lab, 'delete', 'table', 'ip', 'marks');
  });

  await t.test('they stay when the daemon ends, and go when that is asked for', async (t) => {
    await end(program);
    t.equal(await sourceSeen(pod1, '192.168.100.2'), '192.168.100.1', 'stay');
    const REMOVE = `
      const { listFirewalls, removeFirewall } = await load('host/firewall.js');
      tell([await listFirewalls(), await removeFirewall('flannel1'), await removeFirewall('flannel0'),
        await removeFirewall('flannel0'), await listFirewalls()]);`;
    t.strictSame(await evaluate(host1, REMOVE, null), [['flannel0'], false, true, false, []]);
    t.equal(await sourceSeen(pod1, '192.168.100.2'), '10.1.1.2', 'gone');
  });
});

t.test('without masquerading or forwarding there are no such chains', async (t) => {
  const lab = await openLab(t);
  const rows: [options: Partial<Options>, chains: string[]][] = [
    [{}, ['forward', 'postrtg']],
    [{ masquerade: false }, ['forward']],
    [{ forward: false }, ['postrtg']],
    [{ masquerade: false, forward: false }, []],
  ];
  for (const [options, chains] of rows) {
    const program = await keep(lab, { ...OPTIONS, ...options });
    const { stdout } = await nft(lab, 'list', 'table', 'inet', TABLE);
    const found = [...stdout.matchAll(/chain (\w+)/g)].map((match) => match[1]);
    t.strictSame(found.sort(), chains, `${JSON.stringify(options)}: also after a run that had others`);
    await end(program);
  }
});

t.test('rules are put back', async (t) => {
  const lab = await openLab(t);
  await serve(lab, FAMILIES['IPv4']!);
  const program = await keep(lab, OFTEN);
  const before = (await nft(lab, 'list', 'table', 'inet', TABLE)).stdout;
  const rows: [rule: string, change: string, reason: RegExp][] = [
    ['the table deleted', `delete table inet ${TABLE}`, /^the table inet selvage-flannel0 was gone$/],
    ['the whole ruleset flushed', 'flush ruleset', /was gone/],
    ['a chain flushed', `flush chain inet ${TABLE} postrtg`, /was changed/],
    ['a rule put in front', `insert rule inet ${TABLE} postrtg accept`, /was changed/],
    ['a chain added', `add chain inet ${TABLE} other`, /was changed/],
  ];
  for (const [i, [rule, change, reason]] of rows.entries()) {
    await nft(lab, ...change.split(' '));
    await until(`repair of: ${rule}`, () => newsOf(program, 'repair').length > i);
    t.match(newsOf(program, 'repair')[i], reason, rule);
    t.equal((await nft(lab, 'list', 'table', 'inet', TABLE)).stdout, before, `${rule}: as before`);
  }
  t.equal(await sourceSeen(lab.pod(0), '192.168.100.2'), '192.168.100.1', 'and they work');
  t.equal(newsOf(program, 'repair').length, rows.length, 'what nobody changed is not repaired');
  t.strictSame(newsOf(program, 'error'), []);
  await end(program);
});

t.test('other networks replace the former ones', async (t) => {
  const lab = await openLab(t);
  await serve(lab, FAMILIES['IPv4']!);
  const program = await keep(lab, OFTEN, ['flannel0', OTHERS]);
  t.equal(await sourceSeen(lab.pod(0), '192.168.100.2'), '192.168.100.1');
  program.child.kill('SIGUSR2');
  await until('the update', () =>
    (program.told as { event: string }[]).some(({ event }) => event === 'updated'),
  );
  const rules = (await nft(lab, 'list', 'table', 'inet', TABLE)).stdout;
  t.match(rules, /ip saddr 10\.2\.1\.0\/24 ip daddr 10\.2\.0\.0\/16 return/);
  t.notMatch(rules, /10\.1\.|fd00/);
  t.equal(await sourceSeen(lab.pod(0), '192.168.100.2'), '10.1.1.2', 'what was ours is an outsider now');
  await nft(lab, 'delete', 'table', 'inet', TABLE);
  await until('a repair', () => newsOf(program, 'repair').length === 1);
  t.equal((await nft(lab, 'list', 'table', 'inet', TABLE)).stdout, rules, 'the new ones are kept');
  await end(program);
});

t.test('another device: the table of the former one goes, and that of the new one is kept', async (t) => {
  const lab = await openLab(t);
  const program = await keep(lab, OFTEN, ['flannel1', OTHERS]);
  program.child.kill('SIGUSR2');
  await until('the update', () =>
    (program.told as { event: string }[]).some(({ event }) => event === 'updated'),
  );
  const LIST = `tell(await (await load('host/firewall.js')).listFirewalls())`;
  t.strictSame(await evaluate(lab.host(0), LIST, null), ['flannel1']);
  const rules = (await nft(lab, 'list', 'table', 'inet', 'selvage-flannel1')).stdout;
  t.match(rules, /ip saddr 10\.2\.1\.0\/24 ip daddr 10\.2\.0\.0\/16 return/);
  await nft(lab, 'flush', 'ruleset');
  await until('a repair', () => newsOf(program, 'repair').length === 1);
  t.strictSame(newsOf(program, 'repair'), ['the table inet selvage-flannel1 was gone']);
  t.strictSame(await evaluate(lab.host(0), LIST, null), ['flannel1'], 'and no other');
  await end(program);
});

t.test('two devices have rules of their own', async (t) => {
  const lab = await openLab(t);
  const networks = [{ network: '10.9.0.0/16', subnet: '10.9.1.0/24', port: 8285 }];
  const one = await keep(lab, OFTEN);
  const two = await keep(lab, { ...OFTEN, tunName: 'a "b" %d', networks });
  const LIST = `tell(await (await load('host/firewall.js')).listFirewalls())`;
  t.strictSame(await evaluate(lab.host(0), LIST, null), ['flannel0', 'a "b" %d'], 'whatever they are called');
  await nft(lab, 'flush', 'ruleset');
  await until('both repairs', () => [one, two].every((program) => newsOf(program, 'repair').length === 1));
  await end(one);
  await end(two);
});

t.test('a chain of others that drops is told, with the commands that help', async (t) => {
  const lab = await openLab(t);
  const host = lab.host(0);
  await serve(lab, FAMILIES['IPv4']!);
  // As docker does. Of two families, so that each network has what concerns it.
  await host.exec('iptables-nft', ['-P', 'FORWARD', 'DROP']);
  await host.exec('nft', ['-f', '-'], {
    input: `table ip6 guard { chain gate { type filter hook forward priority -5; policy drop; }; }
      table ip elsewhere { chain gate { type filter hook input priority 0; policy accept; }; }
      table ip elsewhere { chain open { type filter hook forward priority 0; policy accept; }; }`,
  });
  const program = await keep(lab, OFTEN);
  const warnings = newsOf(program, 'warning');
  t.strictSame(
    (program.told as News[]).find(({ event }) => event === 'open'),
    { event: 'open', warnings },
  );
  t.equal(warnings.length, 2);
  const [iptables, guard] = [/FORWARD/, /guard/].map((which) => warnings.find((text) => which.test(text)));
  t.match(iptables, /iptables' FORWARD \(ip\) has the policy drop.* frames of 10\.1\.0\.0\/16 /);
  t.match(guard, /the chain ip6 guard gate has the policy drop.* frames of fd00:1::\/32 /);
  t.equal(await sourceSeen(lab.pod(0), '192.168.100.2'), 'nothing', 'it does drop');

  for (const warning of [iptables, guard]) {
    const remedy = /are lost, (.*)$/.exec(warning ?? '')?.[1] ?? '';
    await host.exec('sh', ['-ec', remedy.replaceAll('iptables', 'iptables-nft')]);
  }
  t.equal(await sourceSeen(lab.pod(0), '192.168.100.2'), '192.168.100.1', 'the remedy is one');
  t.strictSame(newsOf(program, 'warning'), warnings, 'each is told once');

  await host.exec('nft', ['-f', '-'], {
    input: 'table inet late { chain gate { type filter hook forward priority 0; policy drop; }; }',
  });
  await until('both families to be warned', () => newsOf(program, 'warning').length === 4);
  t.match(newsOf(program, 'warning')[2], /inet late gate/, 'one that comes later is told as well');
  await end(program);

  await nft(lab, 'delete', 'table', 'inet', 'late');
  const again = await keep(lab, OFTEN);
  t.strictSame(newsOf(again, 'warning'), [], 'where the remedy is in, there is nothing to warn of');
  await end(again);
  const without = await keep(lab, { ...OFTEN, forward: false, networks: [] });
  t.strictSame(newsOf(without, 'warning'), []);
  await end(without);
});

t.test('what nft cannot do', async (t) => {
  const lab = await openLab(t);
  const real = (await lab.host(0).exec('which', ['nft'])).stdout.trim();
  const pretender = join(lab.directory, 'nft');
  const pretend = (script: string): string => {
    // By renaming: a program that runs just now cannot be written to.
    writeFileSync(`${pretender}.new`, `#!/bin/sh\n${script}\n`);
    chmodSync(`${pretender}.new`, 0o755);
    renameSync(`${pretender}.new`, pretender);
    return `${lab.directory}:${process.env['PATH']}`;
  };

  await t.test('fully-random ports refused: it masquerades without, and says so', async (t) => {
    const path = pretend(`
      case "$*" in *fully-random*) echo "Error: no such flag" >&2; exit 1;; esac
      exec ${real} "$@"`);
    const program = await keep(lab, OFTEN, undefined, path);
    t.match(newsOf(program, 'warning'), [/without fully-random.*no such flag/]);
    const { stdout } = await nft(lab, 'list', 'table', 'inet', TABLE);
    t.match(stdout, /ip saddr 10\.1\.0\.0\/16 ip daddr != 224\.0\.0\.0\/4 masquerade$/m);
    await end(program);
  });

  await t.test('fully-random ports not wanted', async (t) => {
    const program = await keep(lab, { ...OPTIONS, fullyRandom: false });
    t.notMatch((await nft(lab, 'list', 'table', 'inet', TABLE)).stdout, /random/);
    t.strictSame(newsOf(program, 'warning'), []);
    await end(program);
  });

  await t.test('anything: the fault of the first try is told', async (t) => {
    const path = pretend(`echo "Error: Operation not permitted" >&2; exit 1`);
    const program = await ask(lab, OPTIONS, undefined, path);
    t.match(program.told, [
      { event: 'refused', code: 'ERR_COMMAND_FAILED', message: /Operation not permitted/ },
    ]);
    t.equal((await program.child.exited).code, 0, 'and nothing goes on');
  });

  await t.test('a fault that lasts is told once', async (t) => {
    const program = await keep(lab, OFTEN, undefined, pretend(`exec ${real} "$@"`));
    pretend(`echo x >> ${lab.directory}/calls; echo "Error: out of order" >&2; exit 1`);
    const calls = async (): Promise<number> =>
      (await lab.host(0).exec('cat', [`${lab.directory}/calls`], { mayFail: true })).stdout.length;
    await until('several looks', async () => (await calls()) > 8);
    t.match(newsOf(program, 'error'), [/out of order/]);
    t.equal(newsOf(program, 'error').length, 1);
    const recoveries = (): number =>
      (program.told as News[]).filter(({ event }) => event === 'recovery').length;
    t.equal(recoveries(), 0);
    pretend(`exec ${real} "$@"`);
    await until('the recovery', () => recoveries() > 0);
    await nft(lab, 'delete', 'table', 'inet', TABLE);
    await until('the repair', () => newsOf(program, 'repair').length === 1);
    t.equal(recoveries(), 1, 'and so is its end');
    await end(program);
  });

  await t.test('not installed', async (t) => {
    const program = await ask(lab, OPTIONS, undefined, '/nonexistent');
    t.match(program.told, [{ code: 'ERR_COMMAND_MISSING', message: /'nft'.*apt-get install nftables/ }]);
  });

  await t.test('a network that is none', async (t) => {
    const program = await ask(lab, {
      ...OPTIONS,
      networks: [{ network: '10.1.0.0', subnet: '10.1.1.0/24', port: 8285 }],
    });
    t.match(program.told, [{ code: 'ERR_PREFIX_INVALID' }]);
  });
});
