import { isIP, isIPv4, isIPv6 } from 'node:net';

import { CONTROL_DIRECTORY, type ForwarderOptions, type UnderlayChoice } from '../index.js';
import { ETCD_OPTIONS, type EtcdSettings, etcdSettings } from './etcd_options.js';
import { choiceOption, type CliValues, integerOption, usageError } from './option_table.js';
import { LOG_FORMATS, LOG_LEVELS, NO_CONTROL_SOCKET, OUTER_CLASSES, SOURCE_CHECKS } from './run_options.js';

const SECONDS_A_DAY = 86_400;
const MAX_INT32 = 2 ** 31 - 1;

/** Where routes come from: a file, or leases in etcd of which one is to be held. */
export type SourceSettings =
  | { readonly kind: 'file'; readonly path: string }
  | ({
      readonly kind: 'etcd';
      /** 60..86,340 */
      readonly renewMarginSeconds: number;
      readonly exitOnLeaseLoss: boolean;
    } & EtcdSettings);

/** What `selvage run` was asked to do. */
export interface RunSettings {
  readonly source: SourceSettings;
  readonly publicIp?: string;
  readonly publicIpv6?: string;
  readonly underlay: UnderlayChoice;
  /** `port` only if the user named one; otherwise the source or the default tells it. */
  readonly forwarder: Omit<ForwarderOptions, 'network' | 'subnet' | 'address'>;
  /** Undefined when none is to be written. */
  readonly subnetFile?: string;
  readonly ipMasq: boolean;
  readonly fullyRandom: boolean;
  readonly forwardRules: boolean;
  readonly blackholeRoute: boolean;
  /** 0: set up once. */
  readonly resyncSeconds: number;
  readonly health?: { readonly ip: string; readonly port: number };
  readonly stateDirectory: string;
  /** Undefined when there is to be none. By default named after the TUN option, a `%d` in it included. */
  readonly controlSocket?: string;
  /** Whether the user asked for it, so that failing to is no detail. */
  readonly controlSocketExplicit: boolean;
  /** 0: never. */
  readonly statsIntervalSeconds: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly logFormat: (typeof LOG_FORMATS)[number];
}

/**
 * Reads the settings out of the option texts.
 *
 * @param controlName what the control socket is named after by default, in place of the TUN option
 * @throws SelvageError ERR_USAGE
 */
export function runSettings(values: CliValues, controlName = values.text('tun')): RunSettings {
  refuseKubernetes(values);
  const source = sourceSettings(values);
  const byDefault = source.kind === 'etcd';
  const publicIp = ipv4Option(values, 'public-ip');
  const publicIpv6 = ipv6Option(values, 'public-ipv6');
  const health = healthSettings(values);
  const controlSocket = controlSocketPath(values, controlName);
  return {
    source,
    ...(publicIp === undefined ? {} : { publicIp }),
    ...(publicIpv6 === undefined ? {} : { publicIpv6 }),
    underlay: underlaySettings(values, publicIp, publicIpv6),
    forwarder: forwarderOptions(values),
    ...(byDefault || values.isGiven('subnet-file') ? { subnetFile: values.text('subnet-file')! } : {}),
    ipMasq: values.isOn('ip-masq'),
    fullyRandom: !values.isOn('ip-masq-fully-random-disable'),
    forwardRules:
      (byDefault || values.isGiven('iptables-forward-rules')) && values.isOn('iptables-forward-rules'),
    blackholeRoute: values.isOn('ip-blackhole-route'),
    resyncSeconds: integerOption(values, 'iptables-resync', 0, SECONDS_A_DAY)!,
    ...(health === undefined ? {} : { health }),
    stateDirectory: values.text('state-dir')!,
    ...(controlSocket === undefined ? {} : { controlSocket }),
    controlSocketExplicit: values.isGiven('control-socket'),
    statsIntervalSeconds: integerOption(values, 'stats-interval', 0, SECONDS_A_DAY)!,
    logLevel: logLevel(values),
    logFormat: choiceOption(values, 'log-format', LOG_FORMATS),
  };
}

function refuseKubernetes(values: CliValues): void {
  if (!values.isOn('kube-subnet-mgr')) return;
  throw usageError(
    `${values.label('kube-subnet-mgr')}: Kubernetes mode is not there yet: ` +
      'keep the leases in etcd (--etcd-endpoints) or the routes in a file (--routes)',
  );
}

/** Options that say something about leases in etcd, and nothing about a file. */
const ETCD_ONLY = [
  ...ETCD_OPTIONS.map(({ name }) => name),
  'subnet-lease-renew-margin',
  'exit-on-lease-loss',
];

function sourceSettings(values: CliValues): SourceSettings {
  const path = values.text('routes');
  const marginMinutes = integerOption(values, 'subnet-lease-renew-margin', 1, 1439)!;
  if (path === undefined) {
    return {
      kind: 'etcd',
      ...etcdSettings(values),
      renewMarginSeconds: marginMinutes * 60,
      exitOnLeaseLoss: values.isOn('exit-on-lease-loss'),
    };
  }
  const other = ETCD_ONLY.find((name) => values.isGiven(name));
  if (other === undefined) return { kind: 'file', path };
  throw usageError(
    `${values.label('routes')} and ${values.label(other)} exclude each other: routes come from a file or from etcd`,
  );
}

const UNDERLAY_FAMILIES = { auto: 'auto', ipv4: 4, ipv6: 6 } as const;
const FAMILY_NAMES = ['auto', 'ipv4', 'ipv6'] as const;

function underlaySettings(
  values: CliValues,
  publicIp: string | undefined,
  publicIpv6: string | undefined,
): UnderlayChoice {
  const iface = values.texts('iface');
  const ifaceRegex = values.texts('iface-regex');
  const ifaceCanReach = addressOption(values, 'iface-can-reach');
  return {
    family: UNDERLAY_FAMILIES[choiceOption(values, 'underlay-family', FAMILY_NAMES)],
    ...(iface.length === 0 ? {} : { iface }),
    ...(ifaceRegex.length === 0 ? {} : { ifaceRegex }),
    ...(ifaceCanReach === undefined ? {} : { ifaceCanReach }),
    ...(publicIp === undefined ? {} : { publicIp }),
    ...(publicIpv6 === undefined ? {} : { publicIpv6 }),
  };
}

/** An address that a host can have: not 0/8, multicast or reserved (RFC 1122 section 3.2.1.3). */
function ipv4Option(values: CliValues, name: string): string | undefined {
  const text = values.text(name);
  if (text === undefined) return undefined;
  const first = Number.parseInt(text, 10);
  if (isIPv4(text) && first > 0 && first < 224) return text;
  throw usageError(`${values.label(name)}: "${text}" is not the IPv4 address of a host, like 192.0.2.1`);
}

function addressOption(values: CliValues, name: string): string | undefined {
  return values.text(name)?.includes(':') === true ? ipv6Option(values, name) : ipv4Option(values, name);
}

function ipv6Option(values: CliValues, name: string): string | undefined {
  const text = values.text(name);
  // Node takes a zone (fe80::1%eth0), which means nothing to another host.
  if (text === undefined || (isIPv6(text) && !text.includes('%'))) return text;
  throw usageError(`${values.label(name)}: "${text}" is not an IPv6 address like 2001:db8::1`);
}

function healthSettings(values: CliValues): RunSettings['health'] {
  const ip = values.text('healthz-ip')!;
  if (isIP(ip) === 0) throw usageError(`${values.label('healthz-ip')}: "${ip}" is not an IP address`);
  const port = integerOption(values, 'healthz-port', 0, 65_535)!;
  return port === 0 ? undefined : { ip, port };
}

function controlSocketPath(values: CliValues, name: string | undefined): string | undefined {
  const path = values.text('control-socket') ?? `${CONTROL_DIRECTORY}/${name}.sock`;
  return path === NO_CONTROL_SOCKET ? undefined : path;
}

function logLevel(values: CliValues): RunSettings['logLevel'] {
  const verbosity = integerOption(values, 'v', 0, MAX_INT32)!;
  const level = choiceOption(values, 'log-level', LOG_LEVELS);
  return verbosity >= 1 && !values.isGiven('log-level') ? 'debug' : level;
}

/** Looked at here as well as by the forwarder, which is made when the host has taken a subnet already. */
function deviceName(values: CliValues): string {
  const name = values.text('tun')!;
  if (/^[^\s/:]{1,15}$/.test(name) && name !== '.' && name !== '..') return name;
  throw usageError(
    `${values.label('tun')}: "${name.slice(0, 60)}" is not a device name: 1 to 15 characters, no blank, slash or colon`,
  );
}

function forwarderOptions(values: CliValues): RunSettings['forwarder'] {
  const port = integerOption(values, 'port', 1, 65_535);
  const mtuBytes = integerOption(values, 'mtu', 68, 65_507);
  const receiveBufferBytes = integerOption(values, 'receive-buffer', 4096, 2 ** 30);
  const sendBufferBytes = integerOption(values, 'send-buffer', 4096, 2 ** 30);
  return {
    ...(port === undefined ? {} : { port }),
    tunName: deviceName(values),
    lanes: integerOption(values, 'lanes', 1, 64)!,
    sourceCheck: choiceOption(values, 'source-check', SOURCE_CHECKS),
    earlyDrop: values.isOn('early-drop'),
    copyTrafficClass: choiceOption(values, 'outer-class', OUTER_CLASSES) === 'copy',
    pathProbeSeconds: integerOption(values, 'path-probe-seconds', 0, SECONDS_A_DAY)!,
    offload: !values.isOn('no-offload'),
    ...(mtuBytes === undefined ? {} : { mtuBytes }),
    ...(receiveBufferBytes === undefined ? {} : { receiveBufferBytes }),
    ...(sendBufferBytes === undefined ? {} : { sendBufferBytes }),
  };
}
