import { DEFAULT_PORT, type ForwarderOptions, SelvageError, type UnderlayChoice } from '../index.js';
import { choiceOption, type CliOption, type CliValues, integerOption } from './option_table.js';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export const LOG_FORMATS = ['auto', 'json', 'pretty'] as const;
const SOURCE_CHECKS = ['strict', 'peer', 'off'] as const;

/** Options of `selvage run`. */
export const RUN_OPTIONS: readonly CliOption[] = [
  { name: 'routes', value: 'FILE', help: 'JSON file with network, own subnet and peers; watched (required)' },
  {
    name: 'iface',
    value: 'NAME|ADDRESS',
    help: 'underlay interface, or one of its IPv4 addresses\n[the interface of the default route]',
  },
  {
    name: 'port',
    value: 'PORT',
    fallback: String(DEFAULT_PORT),
    help: 'UDP port of this host and its peers',
  },
  {
    name: 'tun',
    value: 'NAME',
    fallback: 'flannel0',
    help: 'TUN device to create; %d takes the next free number',
  },
  { name: 'mtu', value: 'BYTES', help: 'largest inner packet [underlay MTU - 28]' },
  { name: 'lanes', value: 'N', fallback: '1', help: 'worker threads, 1 to 64' },
  {
    name: 'source-check',
    value: 'MODE',
    fallback: 'strict',
    help: 'whom to accept datagrams from:\nstrict: peers, each for its own subnets; peer: peers; off: anybody',
  },
  { name: 'no-offload', help: 'use no segmentation or checksum offload (slow; for finding faults)' },
  { name: 'receive-buffer', value: 'BYTES', help: 'socket receive buffer of each lane [8388608]' },
  { name: 'send-buffer', value: 'BYTES', help: 'socket send buffer of each lane [8388608]' },
  { name: 'stats-interval', value: 'SECONDS', fallback: '0', help: 'log all counters so often; 0 is never' },
  { name: 'log-level', value: 'LEVEL', fallback: 'info', help: `one of ${LOG_LEVELS.join(', ')}` },
  {
    name: 'log-format',
    value: 'FORMAT',
    fallback: 'auto',
    help: 'json, pretty, or auto: pretty on a terminal',
  },
  { name: 'help', help: 'print this and exit' },
];

/** What `selvage run` was asked to do. */
export interface RunSettings {
  readonly routesFile: string;
  readonly underlay: UnderlayChoice;
  readonly forwarder: Omit<ForwarderOptions, 'network' | 'subnet' | 'address'>;
  readonly statsIntervalSeconds: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly logFormat: (typeof LOG_FORMATS)[number];
}

/** Reads the settings out of the option texts. @throws SelvageError ERR_USAGE */
export function runSettings(values: CliValues): RunSettings {
  const routesFile = values.get('routes');
  if (routesFile === undefined) {
    throw new SelvageError('ERR_USAGE', '--routes FILE is required: it holds network, own subnet and peers');
  }
  const iface = values.get('iface');
  return {
    routesFile,
    underlay: iface === undefined ? {} : { iface: [iface] },
    forwarder: forwarderOptions(values),
    statsIntervalSeconds: integerOption(values, 'stats-interval', 0, 86_400) ?? 0,
    logLevel: choiceOption(values, 'log-level', LOG_LEVELS),
    logFormat: choiceOption(values, 'log-format', LOG_FORMATS),
  };
}

function forwarderOptions(values: CliValues): RunSettings['forwarder'] {
  const mtuBytes = integerOption(values, 'mtu', 68, 65_507);
  const receiveBufferBytes = integerOption(values, 'receive-buffer', 4096, 2 ** 30);
  const sendBufferBytes = integerOption(values, 'send-buffer', 4096, 2 ** 30);
  return {
    port: integerOption(values, 'port', 1, 65_535)!,
    tunName: values.get('tun')!,
    lanes: integerOption(values, 'lanes', 1, 64)!,
    sourceCheck: choiceOption(values, 'source-check', SOURCE_CHECKS),
    offload: values.get('no-offload') !== 'true',
    ...(mtuBytes === undefined ? {} : { mtuBytes }),
    ...(receiveBufferBytes === undefined ? {} : { receiveBufferBytes }),
    ...(sendBufferBytes === undefined ? {} : { sendBufferBytes }),
  };
}
