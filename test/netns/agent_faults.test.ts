/**
 * An agent whose source, or whose host, does not do as it should; the source is a fake that does as it is told.
 */
import { writeFileSync } from 'node:fs';

import t from 'tap';

import type { Lab } from './lab.js';
import { Scenario } from './scenario.js';

t.setTimeout(120_000);

const SOURCES = new URL('../../src/', import.meta.url).href;

/** `agentOf(options)`, an agent of `source`; its `warnings`; `until(what)`. */
const AGENT = `
  import { readFileSync } from 'node:fs';
  const { Agent } = await import('${SOURCES}agent/agent.js');
  const { findUnderlay } = await import('${SOURCES}host/underlay.js');
  const input = JSON.parse(process.argv[2]);
  const tell = (value) => console.log(JSON.stringify(value));
  const until = async (what) => {
    for (let i = 0; !(await what()); i++) {
      if (i === 1000) throw new Error('waited in vain for ' + what);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const place = { network: '10.1.0.0/16', subnet: '10.1.1.0/24', underlay: 4, port: 8285, peers: [] };
  const state = {
    store: 'fake', connection: { connected: true, since: new Date(), reason: undefined },
    lease: { subnets: { ipv4: place.subnet }, value: { publicIp: '192.0.2.1', backendType: '' }, key: '', reserved: true,
      expiresAt: undefined, confirmedAt: new Date() },
    stale: false, syncedAt: new Date(), leases: 0, skipped: 0, revision: 0n, renewals: 0, disconnects: 0, relists: 0,
  };
  const source = {
    state,
    open: async (listener) => { source.listener = listener; return place; },
    close: async () => undefined,
  };
  const warnings = [];
  const agentOf = async (options) => {
    const underlay = await findUnderlay({ iface: [input.iface] });
    const base = { source: { kind: 'store', networkName: 'fake' }, forwarder: { lanes: 1 }, resyncSeconds: 0.05 };
    const agent = new Agent({ ...base, ...options }, underlay, { kind: 'store', source });
    agent.on('warning', (message) => warnings.push(message));
    return agent;
  };`;

/** Runs lines after {@link AGENT} in host1, and gives what they tell. A file, as lanes do not go with a program from `-e`. */
async function run<T>(lab: Lab, lines: string): Promise<T> {
  const host = lab.host(0);
  const file = `${lab.directory}/program.mjs`;
  writeFileSync(file, AGENT + lines);
  const input = { iface: host.underlay, directory: lab.directory };
  return JSON.parse((await host.exec(process.execPath, [file, JSON.stringify(input)])).stdout) as T;
}

t.test('changes that were refused are asked for again with the next one', async (t) => {
  const { lab } = await Scenario.open(t, { record: false });
  const PROGRAM = `
    const agent = await agentOf({});
    const errors = [];
    agent.on('routeError', (error) => errors.push(error.message));
    await agent.start();
    const set = (n, publicIp) => ({ kind: 'set', peer: { subnet: '10.1.' + n + '.0/24', publicIp } });
    const seen = () => ({ routes: agent.stats().routes.count, health: agent.status().health, error: agent.status().source.error });
    source.listener.onChanges([set(5, '0.0.0.0'), set(6, '192.0.2.6')]);
    source.listener.onChanges([set(7, '192.0.2.7')]);
    const refused = seen();
    source.listener.onChanges([{ kind: 'delete', subnet: '10.1.5.0/24' }]);
    const accepted = seen();
    await agent.close();
    tell({ refused, accepted, errors });`;
  const { refused, accepted, errors } = await run<{
    refused: unknown;
    accepted: unknown;
    errors: string[];
  }>(lab, PROGRAM);
  t.match(refused, {
    routes: 0,
    health: { status: 'degraded', reasons: [{ code: 'routesRefused' }] },
    error: /0\.0\.0\.0 is not the address of one host/,
  });
  t.equal(errors.length, 1, 'the same refusal is told once');
  t.match(
    accepted,
    { routes: 2, health: { status: 'ok', reasons: [] }, error: null },
    'all of them are in force',
  );
});

t.test('close gives the device back while the source still waits for its store', async (t) => {
  const { lab } = await Scenario.open(t, { record: false });
  const PROGRAM = `
    const agent = await agentOf({});
    const device = () => readFileSync('/proc/net/dev', 'utf8').includes('flannel0');
    await agent.start();
    const before = device();
    source.close = () => until(() => !device());
    await agent.close();
    tell({ before, after: device() });`;
  t.strictSame(await run(lab, PROGRAM), { before: true, after: false });
});

t.test('what of the host cannot be set up is a warning, and is had as soon as it can', async (t) => {
  const { lab } = await Scenario.open(t, { record: false, packages: ['nftables'] });
  // A route of the same metric is in the way, and there is no nft.
  await lab.host(0).ip('route add unreachable 10.1.1.0/24 metric 4000000000');
  const PROGRAM = `
    const { readdirSync, symlinkSync, mkdirSync } = await import('node:fs');
    const { execFileSync } = await import('node:child_process');
    const tools = input.directory + '/tools';
    mkdirSync(tools);
    const all = process.env.PATH;
    const ip = execFileSync('sh', ['-c', 'command -v ip'], { encoding: 'utf8' }).trim();
    symlinkSync(ip, tools + '/ip');
    process.env.PATH = tools;
    const agent = await agentOf({ blackholeRoute: true, firewall: { masquerade: false, forward: true } });
    await agent.start();
    const { health } = agent.status();
    const failures = warnings.splice(0);
    execFileSync('ip', ['route', 'delete', 'unreachable', '10.1.1.0/24', 'metric', '4000000000']);
    process.env.PATH = all;
    await until(() => agent.status().health.status === 'ok');
    await agent.close();
    const { listFirewalls } = await import('${SOURCES}host/firewall.js');
    const routes = execFileSync('ip', ['route', 'show', 'type', 'blackhole'], { encoding: 'utf8' });
    tell({ health, failures, warnings, firewalls: await listFirewalls(), routes });`;
  const told = await run<{ warnings: string[] }>(lab, PROGRAM);
  t.match(told, {
    health: { status: 'degraded', reasons: [{ code: 'firewall' }, { code: 'blackholeRoute' }] },
    failures: [
      /^the forward rules are not in force: .*'nft' is not installed/,
      /^the blackhole route is not .*File exists/,
    ],
    firewalls: ['flannel0'],
    routes: /^blackhole 10\.1\.1\.0\/24 /,
  });
  t.strictSame(
    told.warnings.sort(),
    ['the blackhole route is there now', 'the forward rules are in force now'],
    'nothing was told twice',
  );
});
