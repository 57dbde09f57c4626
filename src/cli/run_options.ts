import { CONTROL_DIRECTORY } from '../index.js';
import { ETCD_OPTIONS } from './etcd_options.js';
import type { CliOption } from './option_table.js';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export const LOG_FORMATS = ['auto', 'json', 'pretty'] as const;
export const SOURCE_CHECKS = ['strict', 'peer', 'off'] as const;
/** Values of `--outer-class`. */
export const OUTER_CLASSES = ['copy', 'zero'] as const;
/** Word for no control socket. */
export const NO_CONTROL_SOCKET = 'none';

type Flag = Omit<CliOption, 'heading' | 'flanneld'>;

const ours = (heading: string, ...flags: Flag[]): CliOption[] => flags.map((flag) => ({ ...flag, heading }));
const flanneld = (heading: string, ...flags: Flag[]): CliOption[] =>
  flags.map((flag) => ({ ...flag, heading, flanneld: true }));

const LEASES = 'Network and leases';
const UNDERLAY = 'Underlay';
const DATA_PATH = 'Data path';
const FIREWALL = 'Firewall and routes';
const OBSERVING = 'Observing';
const WITHOUT_EFFECT = "flanneld's flags without effect, taken so that its command line keeps working";

/** Options about the process, which the networks of `--segments` have in common. */
export const PROCESS_OPTIONS: readonly string[] = [
  'segments',
  'exit-on-lease-loss',
  'healthz-ip',
  'healthz-port',
  'control-socket',
  'stats-interval',
  'log-level',
  'log-format',
  'v',
];

/** Options of `selvage run`: flanneld's under its names and with its defaults, and ours. */
export const RUN_OPTIONS: readonly CliOption[] = [
  ...ours(LEASES, {
    name: 'routes',
    value: 'FILE',
    help: 'no etcd: network, own subnet and peers are in this JSON file, which is watched',
  }),
  ...ours(LEASES, {
    name: 'segments',
    value: 'FILE',
    help: 'several networks: each has options of its own in this JSON file, these here are the defaults',
  }),
  ...ETCD_OPTIONS,
  ...flanneld(
    LEASES,
    {
      name: 'public-ip',
      value: 'ADDRESS',
      help: 'IPv4 address at which other hosts reach this one [that of the interface]',
    },
    { name: 'public-ipv6', value: 'ADDRESS', help: 'the same for IPv6 [that of the interface]' },
    {
      name: 'subnet-file',
      value: 'FILE',
      fallback: '/run/flannel/subnet.env',
      help: 'where to tell the CNI plugin network, subnet and MTU; with --routes only if given',
    },
    {
      name: 'subnet-lease-renew-margin',
      value: 'MINUTES',
      fallback: '60',
      help: 'renew the lease so long before it ends, 1 to 1439',
    },
  ),
  ...ours(
    LEASES,
    {
      name: 'exit-on-lease-loss',
      help: 'end when the lease is deleted or has expired, as flanneld does, instead of taking one again',
    },
    {
      name: 'state-dir',
      value: 'DIRECTORY',
      fallback: '/var/lib/selvage',
      help: 'what a restarted daemon forwards by until etcd answers',
    },
  ),
  ...flanneld(
    UNDERLAY,
    {
      name: 'iface',
      value: 'NAME|ADDRESS',
      repeatable: true,
      help: 'interface that carries the datagrams, or one of its addresses; the first that is there [that of the default route]',
    },
    {
      name: 'iface-regex',
      value: 'REGEX',
      repeatable: true,
      help: "the same by pattern, tried on addresses, then on names; JavaScript's syntax; after --iface",
    },
    {
      name: 'iface-can-reach',
      value: 'ADDRESS',
      help: 'the interface the kernel would use for this address; after --iface-regex',
    },
  ),
  ...ours(UNDERLAY, {
    name: 'underlay-family',
    value: 'FAMILY',
    fallback: 'auto',
    help: 'what carries the datagrams: ipv4, ipv6, or auto: ipv4 unless the network has IPv6 only; the same on all hosts',
  }),
  ...ours(
    DATA_PATH,
    {
      name: 'port',
      value: 'PORT',
      help: 'UDP port of this host and its peers [Backend.Port of the network config, else 8285]',
    },
    {
      name: 'tun',
      value: 'NAME',
      fallback: 'flannel0',
      help: 'TUN device to create; %d takes the next free number',
    },
    {
      name: 'mtu',
      value: 'BYTES',
      help: 'largest inner packet, fixed [underlay MTU - 28, over IPv6 - 48, and follows it]',
    },
    {
      name: 'path-probe-seconds',
      value: 'SECONDS',
      fallback: '60',
      help: 'probe paths in use so often for silent loss of large packets; 0 is never',
    },
    {
      name: 'outer-class',
      value: 'CLASS',
      fallback: 'copy',
      help: 'DSCP and ECN of datagrams: copy those of the packet inside, or zero (while peers are flanneld)',
    },
    { name: 'lanes', value: 'N', fallback: '1', help: 'worker threads, 1 to 64' },
    {
      name: 'source-check',
      value: 'MODE',
      fallback: 'strict',
      help: 'whom to accept datagrams from. strict: peers, each for its own subnets; peer: peers; off: anybody',
    },
    {
      name: 'early-drop',
      fallback: 'true',
      help: 'let the kernel drop datagrams of strangers before they are queued',
    },
    { name: 'no-offload', help: 'use no segmentation or checksum offload (slow; for finding faults)' },
    { name: 'receive-buffer', value: 'BYTES', help: 'socket receive buffer of each lane [8388608]' },
    { name: 'send-buffer', value: 'BYTES', help: 'socket send buffer of each lane [8388608]' },
  ),
  ...flanneld(
    FIREWALL,
    {
      name: 'ip-masq',
      help: 'masquerade what leaves the network, by nftables',
    },
    {
      name: 'ip-masq-fully-random-disable',
      help: 'masquerade without random source ports (for NAT traversal)',
    },
    {
      name: 'iptables-forward-rules',
      fallback: 'true',
      help: 'accept forwarded traffic of the network; with --routes only if given',
    },
    {
      name: 'iptables-resync',
      value: 'SECONDS',
      fallback: '5',
      help: 'put rules and the blackhole route back so often; 0 is never',
    },
    {
      name: 'ip-blackhole-route',
      help: 'drop what goes to addresses of the own subnet that no pod has, instead of sending it on',
    },
  ),
  ...flanneld(
    OBSERVING,
    { name: 'healthz-ip', value: 'ADDRESS', fallback: '0.0.0.0', help: 'where --healthz-port listens' },
    {
      name: 'healthz-port',
      value: 'PORT',
      fallback: '0',
      help: 'serve /healthz, /readyz and /metrics; 0 is off',
    },
  ),
  ...ours(
    OBSERVING,
    {
      name: 'control-socket',
      value: 'PATH',
      help: `what 'selvage status' asks; '${NO_CONTROL_SOCKET}' for none [${CONTROL_DIRECTORY}/TUN.sock]`,
    },
    {
      name: 'stats-interval',
      value: 'SECONDS',
      fallback: '0',
      help: 'log all counters so often; 0 is never',
    },
    { name: 'log-level', value: 'LEVEL', fallback: 'info', help: `one of ${LOG_LEVELS.join(', ')}` },
    {
      name: 'log-format',
      value: 'FORMAT',
      fallback: 'auto',
      help: 'json, pretty, or auto: pretty on a terminal',
    },
  ),
  ...flanneld(OBSERVING, {
    name: 'v',
    value: 'N',
    fallback: '0',
    help: '1 and more: --log-level debug, unless that is given',
  }),
  ...ours(
    OBSERVING,
    { name: 'version', commandLineOnly: true, help: 'print the version and exit' },
    { name: 'help', commandLineOnly: true, help: 'print this and exit' },
  ),
  ...flanneld(
    WITHOUT_EFFECT,
    { name: 'kube-subnet-mgr', help: 'Kubernetes mode, which is not there yet: refused when true' },
    { name: 'kube-api-url', value: 'URL', help: 'for Kubernetes mode' },
    { name: 'kubeconfig-file', value: 'FILE', help: 'for Kubernetes mode' },
    {
      name: 'kube-annotation-prefix',
      value: 'PREFIX',
      fallback: 'flannel.alpha.coreos.com',
      help: 'for Kubernetes mode',
    },
    {
      name: 'net-config-path',
      value: 'FILE',
      fallback: '/etc/kube-flannel/net-conf.json',
      help: 'for Kubernetes mode',
    },
    { name: 'set-node-network-unavailable', fallback: 'true', help: 'for Kubernetes mode' },
    { name: 'vmodule', value: 'PATTERNS', help: "klog's; see --log-level" },
    { name: 'log_backtrace_at', value: 'FILE:LINE', help: "klog's; see --log-level" },
  ),
];
