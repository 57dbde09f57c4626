import { checkTraceOptions, DROP_REASONS, SelvageError, type TraceOptions } from '../index.js';
import { DAEMON_OPTIONS } from './daemon_options.js';
import { HELP_OPTION, JSON_OPTION } from './command.js';
import { choiceOption, type CliOption, type CliValues, integerOption, usageError } from './option_table.js';
import { PROTOCOLS } from './trace_text.js';

const FILTERS = 'Filters (all that are given must hold)';
/** TCP, UDP, DCCP, SCTP and UDP-Lite. */
const PROTOCOLS_WITH_PORTS: readonly number[] = [6, 17, 33, 132, 136];
const MOST_PORT = 65_535;
const MOST_COUNT = 2_147_483_647;
const MOST_SECONDS = 86_400;
const MOST_RATE = 10_000;

/** What `selvage trace` was asked. */
export interface TraceQuestion {
  readonly socket?: string | undefined;
  /** The one network of a daemon with segments. */
  readonly segment?: string | undefined;
  readonly options: TraceOptions;
  /** End after so many frames. */
  readonly count?: number | undefined;
  readonly seconds?: number | undefined;
  /** File for a capture, `-` for standard output; nothing is printed then. */
  readonly pcap?: string | undefined;
  readonly json: boolean;
}

function filter(name: string, value: string | undefined, help: string): CliOption {
  return { name, heading: FILTERS, commandLineOnly: true, help, ...(value === undefined ? {} : { value }) };
}

function option(name: string, value: string, help: string): CliOption {
  return { name, heading: 'Options', value, commandLineOnly: true, help };
}

export const TRACE_OPTIONS: readonly CliOption[] = [
  filter('host', 'ADDR|PREFIX', 'inner source or destination'),
  filter('src', 'ADDR|PREFIX', 'inner source'),
  filter('dst', 'ADDR|PREFIX', 'inner destination'),
  filter('proto', 'NAME|N', `inner protocol: ${Object.keys(PROTOCOLS).join(', ')} or a number`),
  filter('port', 'N', 'inner source or destination port'),
  filter('src-port', 'N', 'inner source port'),
  filter('dst-port', 'N', 'inner destination port'),
  filter('direction', 'in|out', 'out: from this host to a peer; in: from a peer to this host'),
  filter('peer', 'ADDR', 'underlay address that frames are sent to or came from'),
  filter('drops', undefined, 'frames that ended here, wholly or in part'),
  filter('reason', 'NAME', 'frames that ended for this reason, e.g. spoofedSource'),
  option('count', 'N', 'end after so many frames'),
  option('seconds', 'N', 'end after so long'),
  { ...option('rate', 'N', 'most frames a second from each lane, 1..10000'), fallback: '1000' },
  option('pcap', 'FILE', 'write a pcapng file in place of lines; - is standard output'),
  ...DAEMON_OPTIONS,
  JSON_OPTION,
  HELP_OPTION,
];

/** @throws SelvageError ERR_USAGE naming the option */
export function traceQuestion(values: CliValues): TraceQuestion {
  const json = values.isOn('json');
  const pcap = values.text('pcap');
  if (json && pcap !== undefined) throw usageError('--json and --pcap exclude each other: trace twice');
  return {
    socket: values.text('socket'),
    segment: values.text('segment'),
    options: traceOptions(values),
    count: integerOption(values, 'count', 1, MOST_COUNT),
    seconds: integerOption(values, 'seconds', 1, MOST_SECONDS),
    pcap,
    json,
  };
}

function traceOptions(values: CliValues): TraceOptions {
  const options: TraceOptions = {
    host: checked(values, 'host', (host) => ({ host })),
    source: checked(values, 'src', (source) => ({ source })),
    destination: checked(values, 'dst', (destination) => ({ destination })),
    peer: checked(values, 'peer', (peer) => ({ peer })),
    protocol: protocolOption(values),
    port: integerOption(values, 'port', 0, MOST_PORT),
    sourcePort: integerOption(values, 'src-port', 0, MOST_PORT),
    destinationPort: integerOption(values, 'dst-port', 0, MOST_PORT),
    direction: directionOption(values),
    verdict: values.isOn('drops') ? 'dropped' : undefined,
    reason: reasonOption(values),
    recordsPerSecond: integerOption(values, 'rate', 1, MOST_RATE),
  };
  refuseContradiction(options);
  return options;
}

/** Filters that no frame can pass: silence would be taken for an answer. */
function refuseContradiction(options: TraceOptions): void {
  const { host, source, destination, protocol, direction, reason } = options;
  const given = [host, source, destination].filter((text) => text !== undefined);
  if (new Set(given.map((text) => text.includes(':'))).size > 1) {
    throw usageError('--host, --src and --dst are to be of one family: no frame has addresses of both');
  }
  const ports = [options.port, options.sourcePort, options.destinationPort];
  const withPort = ports.some((port) => port !== undefined);
  if (protocol !== undefined && withPort && !PROTOCOLS_WITH_PORTS.includes(protocol)) {
    throw usageError('--proto and --port: frames of that protocol have no ports; leave one of the two out');
  }
  const ends = DROP_REASONS.find(({ name }) => name === reason)?.directions;
  if (ends !== undefined && direction !== undefined && !ends.includes(direction)) {
    throw usageError(`--reason ${reason} and --direction: frames end for it in the other direction only`);
  }
}

/** A text that the library checks; its own name for it is not the user's. */
function checked(
  values: CliValues,
  name: string,
  optionsOf: (text: string) => TraceOptions,
): string | undefined {
  const text = values.text(name);
  if (text === undefined) return undefined;
  try {
    checkTraceOptions(optionsOf(text));
    return text;
  } catch (error) {
    const { message } = error as SelvageError;
    throw usageError(`${values.label(name)}: ${message.slice(message.indexOf(': ') + 2)}`, error);
  }
}

function reasonOption(values: CliValues): TraceOptions['reason'] {
  const text = checked(values, 'reason', (reason) => ({ reason }) as TraceOptions);
  return DROP_REASONS.find(({ name }) => name === text)?.name;
}

function directionOption(values: CliValues): TraceOptions['direction'] {
  if (!values.isGiven('direction')) return undefined;
  return choiceOption(values, 'direction', ['in', 'out']) === 'in' ? 'inbound' : 'outbound';
}

function protocolOption(values: CliValues): number | undefined {
  const text = values.text('proto');
  if (text === undefined) return undefined;
  const name = text.toLowerCase();
  if (Object.hasOwn(PROTOCOLS, name)) return PROTOCOLS[name];
  if (/^\d{1,3}$/.test(text) && Number(text) <= 255) return Number(text);
  const names = Object.keys(PROTOCOLS).join(', ');
  throw usageError(`${values.label('proto')}: "${text}" is not one of ${names}, nor a number from 0 to 255`);
}
