import t, { type Test } from 'tap';

import { formatOptions, HELP_COLUMNS } from '../../src/cli/option_help.js';
import { readOptions } from '../../src/cli/option_table.js';
import { RUN_OPTIONS } from '../../src/cli/run_options.js';
import { type RunSettings, runSettings } from '../../src/cli/run_settings.js';
import { refusesUsage } from './refuses_usage.js';

function settings(args: readonly string[], environment: NodeJS.ProcessEnv = {}): RunSettings {
  return runSettings(readOptions(RUN_OPTIONS, args, environment));
}

function refuses(
  t: Test,
  args: readonly string[],
  message: RegExp,
  environment: NodeJS.ProcessEnv = {},
): void {
  refusesUsage(t, args, message, () => settings(args, environment));
}

const FILE = ['--routes', 'routes.json'];

/** Flags of flannel 0.28 (`main.go` init) with their defaults, '' where there is none; switches by their word. */
const FLANNELD_FLAGS = {
  'etcd-endpoints': 'http://127.0.0.1:4001,http://127.0.0.1:2379',
  'etcd-prefix': '/coreos.com/network',
  'etcd-keyfile': '',
  'etcd-certfile': '',
  'etcd-cafile': '',
  'etcd-username': '',
  'etcd-password': '',
  iface: '',
  'iface-regex': '',
  'iface-can-reach': '',
  'subnet-file': '/run/flannel/subnet.env',
  'public-ip': '',
  'public-ipv6': '',
  'subnet-lease-renew-margin': '60',
  'ip-masq': '',
  'ip-masq-fully-random-disable': '',
  'iptables-resync': '5',
  'iptables-forward-rules': 'true',
  'ip-blackhole-route': '',
  'kube-subnet-mgr': '',
  'kube-api-url': '',
  'kubeconfig-file': '',
  'kube-annotation-prefix': 'flannel.alpha.coreos.com',
  'net-config-path': '/etc/kube-flannel/net-conf.json',
  'set-node-network-unavailable': 'true',
  'healthz-ip': '0.0.0.0',
  'healthz-port': '0',
  v: '0',
  vmodule: '',
  log_backtrace_at: '',
};

t.test("every flag of flanneld is there with flanneld's default, and only those have its variables", (t) => {
  const table = RUN_OPTIONS.filter(({ flanneld }) => flanneld);
  const found = Object.fromEntries(table.map(({ name, fallback }) => [name, fallback ?? '']));
  t.strictSame(found, FLANNELD_FLAGS);
  t.ok(RUN_OPTIONS.some(({ name }) => name === 'version'));
  t.end();
});

t.test('no option is there twice, and options of one heading follow each other', (t) => {
  const names = RUN_OPTIONS.map(({ name }) => name);
  t.equal(new Set(names).size, names.length);
  const headings = RUN_OPTIONS.map(({ heading }) => heading);
  const blocks = headings.filter((heading, at) => heading !== headings[at - 1]);
  t.equal(new Set(blocks).size, blocks.length, blocks.join(', '));
  t.end();
});

t.test('the help fits a terminal and names every option', (t) => {
  const lines = formatOptions(RUN_OPTIONS).split('\n');
  for (const line of lines) t.ok(line.length <= HELP_COLUMNS, line);
  for (const { name } of RUN_OPTIONS) {
    t.ok(
      lines.some((line) => new RegExp(`^[ *] --${name}( |$)`).test(line)),
      name,
    );
  }
  t.end();
});

t.test('without any option it joins the network in the local etcd, as flanneld does', (t) => {
  t.strictSame(settings([]), {
    source: {
      kind: 'etcd',
      endpoints: ['http://127.0.0.1:4001', 'http://127.0.0.1:2379'],
      prefix: '/coreos.com/network',
      renewMarginSeconds: 3600,
      exitOnLeaseLoss: false,
    },
    underlay: { family: 'auto' },
    forwarder: {
      tunName: 'flannel0',
      lanes: 1,
      sourceCheck: 'strict',
      earlyDrop: true,
      copyTrafficClass: true,
      pathProbeSeconds: 60,
      offload: true,
    },
    subnetFile: '/run/flannel/subnet.env',
    ipMasq: false,
    fullyRandom: true,
    forwardRules: true,
    blackholeRoute: false,
    resyncSeconds: 5,
    stateDirectory: '/var/lib/selvage',
    controlSocket: '/run/selvage/flannel0.sock',
    controlSocketExplicit: false,
    statsIntervalSeconds: 0,
    logLevel: 'info',
    logFormat: 'auto',
  });
  t.end();
});

t.test('a command line of flanneld is understood whole', (t) => {
  const args = [
    '-etcd-endpoints=https://192.0.2.10:2379, https://192.0.2.11:2379',
    '-etcd-prefix=/other',
    ...['-etcd-cafile', 'ca.pem', '-etcd-certfile', 'c.pem', '-etcd-keyfile', 'k.pem'],
    ...['-etcd-username', 'root', '-etcd-password', '-secret'],
    ...['-iface=eth1', '-iface=eth2', '-iface-regex', '^10\\.', '-iface-can-reach', '192.0.2.1'],
    ...['-public-ip=198.51.100.7', '-public-ipv6=2001:db8::7', '-subnet-file=/tmp/subnet.env'],
    ...['-subnet-lease-renew-margin=30', '-ip-masq', '-ip-masq-fully-random-disable', '-iptables-resync=9'],
    ...['-iptables-forward-rules=false', '-ip-blackhole-route=true', '-healthz-ip=::', '-healthz-port=8471'],
    ...['-kube-subnet-mgr=false', '-vmodule=udp=3', '-v=2', '-set-node-network-unavailable=false'],
  ];
  t.match(settings(args), {
    source: {
      kind: 'etcd',
      endpoints: ['https://192.0.2.10:2379', 'https://192.0.2.11:2379'],
      prefix: '/other',
      caFile: 'ca.pem',
      certFile: 'c.pem',
      keyFile: 'k.pem',
      username: 'root',
      password: '-secret',
      renewMarginSeconds: 1800,
    },
    publicIp: '198.51.100.7',
    publicIpv6: '2001:db8::7',
    underlay: {
      iface: ['eth1', 'eth2'],
      ifaceRegex: ['^10\\.'],
      ifaceCanReach: '192.0.2.1',
      publicIp: '198.51.100.7',
    },
    subnetFile: '/tmp/subnet.env',
    ipMasq: true,
    fullyRandom: false,
    forwardRules: false,
    blackholeRoute: true,
    resyncSeconds: 9,
    health: { ip: '::', port: 8471 },
    logLevel: 'debug',
  });
  t.end();
});

t.test('with --routes nothing of the host is touched that was not asked for', (t) => {
  const plain = settings(FILE);
  t.strictSame(plain.source, { kind: 'file', path: 'routes.json' });
  t.equal(plain.subnetFile, undefined);
  t.equal(plain.forwardRules, false);
  const asked = settings([...FILE, '--subnet-file=/run/flannel/subnet.env', '--iptables-forward-rules']);
  t.match(asked, {
    subnetFile: '/run/flannel/subnet.env',
    forwardRules: true,
  });
  t.equal(
    settings(FILE, { FLANNELD_SUBNET_FILE: '/x' }).subnetFile,
    '/x',
    'in the environment is asked for too',
  );
  t.equal(settings([...FILE, '--iptables-forward-rules=false']).forwardRules, false);
  t.end();
});

t.test('a file and etcd exclude each other, wherever they come from', (t) => {
  refuses(t, [...FILE, '--etcd-prefix=/x'], /^--routes and --etcd-prefix exclude each other/);
  refuses(t, FILE, /^--routes and FLANNELD_ETCD_ENDPOINTS exclude/, {
    FLANNELD_ETCD_ENDPOINTS: 'http://x:1',
  });
  refuses(t, ['--exit-on-lease-loss'], /^SELVAGE_ROUTES and --exit-on-lease-loss/, { SELVAGE_ROUTES: 'f' });
  refuses(t, [...FILE, '--subnet-lease-renew-margin=60'], /subnet-lease-renew-margin exclude/);
  t.end();
});

t.test('the renewal margin is 1 to 1439 minutes', (t) => {
  for (const [text, seconds] of [
    ['1', 60],
    ['1439', 86_340],
  ] as const) {
    t.match(settings([`-subnet-lease-renew-margin=${text}`]).source, { renewMarginSeconds: seconds });
  }
  for (const text of ['0', '1440', '60m']) {
    refuses(t, [`-subnet-lease-renew-margin=${text}`], /is not a whole number from 1 to 1439$/);
  }
  t.end();
});

t.test('half of a pair is refused', (t) => {
  refuses(t, ['--etcd-certfile=c'], /^--etcd-certfile is of no use without --etcd-keyfile$/);
  refuses(t, ['--etcd-keyfile=k'], /^--etcd-keyfile is of no use without --etcd-certfile$/);
  refuses(t, ['--etcd-username=u'], /^--etcd-username is of no use without --etcd-password$/);
  t.match(settings(['--etcd-username=u'], { FLANNELD_ETCD_PASSWORD: 'p' }).source, { password: 'p' });
  t.end();
});

t.test('no message and no default shows the password', (t) => {
  const secret = 'hunter2';
  const wrong = [
    ['--etcd-password', secret],
    ['--etcd-password', secret, '--etcd-username=u', '--routes=f'],
    ['--etcd-password', secret, '--etcd-username=u', '--lanes=x'],
  ];
  for (const args of wrong) {
    t.throws(() => settings(args), { code: 'ERR_USAGE' });
    try {
      settings(args);
    } catch (error) {
      t.notMatch((error as Error).message, secret);
    }
  }
  refuses(t, [], /^FLANNELD_ETCD_PASSWORD is of no use/, { FLANNELD_ETCD_PASSWORD: secret });
  t.end();
});

t.test('Kubernetes mode is refused with what to do instead', (t) => {
  refuses(
    t,
    ['-kube-subnet-mgr'],
    /^--kube-subnet-mgr: Kubernetes mode is not there yet: .*--etcd-endpoints.*--routes/,
  );
  refuses(t, [], /^FLANNELD_KUBE_SUBNET_MGR: /, { FLANNELD_KUBE_SUBNET_MGR: 'true' });
  t.end();
});

t.test('addresses are checked', (t) => {
  for (const text of ['eth0', '224.0.0.1', '0.0.0.0', '255.255.255.255', '10.0.0', '2001:db8::1']) {
    refuses(t, [`--public-ip=${text}`], /^--public-ip: ".*" is not the IPv4 address of a host/);
  }
  refuses(t, ['--iface-can-reach=router'], /^--iface-can-reach: "router"/);
  for (const text of ['192.0.2.1', 'fe80::1%eth0', 'x']) {
    refuses(t, [`--public-ipv6=${text}`], /^--public-ipv6: ".*" is not an IPv6 address/);
  }
  for (const name of ['name-too-long-for-it', '../x', 'a b', '..', 'a:b']) {
    refuses(t, [`--tun=${name}`], /^--tun: ".*" is not a device name/);
  }
  refuses(t, ['--healthz-ip=localhost'], /^--healthz-ip: "localhost" is not an IP address$/);
  refuses(t, ['--etcd-endpoints=,'], /^--etcd-endpoints names no endpoint$/);
  t.end();
});

t.test('the health port is off at 0', (t) => {
  t.equal(settings([]).health, undefined);
  t.strictSame(settings(['--healthz-port=8471']).health, { ip: '0.0.0.0', port: 8471 });
  t.end();
});

t.test('the control socket is named after the device, unless told otherwise', (t) => {
  t.equal(settings(['--tun=ov1']).controlSocket, '/run/selvage/ov1.sock');
  t.equal(settings(['--control-socket=/tmp/s']).controlSocket, '/tmp/s');
  t.equal(settings(['--control-socket=none']).controlSocket, undefined);
  t.end();
});

t.test('-v means debug unless the level is given', (t) => {
  t.equal(settings(['-v=1']).logLevel, 'debug');
  t.equal(settings([], { FLANNELD_V: '10' }).logLevel, 'debug');
  t.equal(settings(['-v', '0']).logLevel, 'info');
  t.equal(settings(['-v=5', '--log-level=warn']).logLevel, 'warn');
  refuses(t, ['-v=x'], /^--v: "x" is not a whole number/);
  t.end();
});

t.test('the port is passed on only if the user named one', (t) => {
  t.equal(settings([]).forwarder.port, undefined);
  t.equal(settings(['--port=8286']).forwarder.port, 8286);
  refuses(t, ['--port=0'], /^--port: "0" is not a whole number from 1 to 65535$/);
  t.end();
});
