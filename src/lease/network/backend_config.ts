import { messageOf, SelvageError } from '../../errors.js';
import { describeJson, pickGoFields } from './go_json.js';

/** The names that flannel 0.28 registers; it compares them in lower case. */
const FLANNEL_BACKENDS = [
  'udp',
  'vxlan',
  'host-gw',
  'ipip',
  'wireguard',
  'ipsec',
  'extension',
  'alloc',
  'tencent-vpc',
];

/** flannel 0.28, `backend/udp`: `defaultPort`. */
const DEFAULT_PORT = 8285;
const LARGEST_PORT = 65_535;

/**
 * Reads the `Backend` object of a network config.
 *
 * @param backend undefined when the config has none, which means udp
 * @returns the port, 1..65535
 * @throws SelvageError ERR_BACKEND_TYPE for another backend than udp; ERR_NETWORK_CONFIG for a malformed object or port
 */
export function readBackend(backend: unknown): { readonly port: number } {
  if (backend === undefined) return { port: DEFAULT_PORT };
  const { Type: type = '', Port: port = DEFAULT_PORT } = fieldsOf(backend);
  if (typeof type !== 'string') {
    throw malformed(`error decoding Backend property of config: Type is ${describeJson(type)}, not a string`);
  }
  if (type.toLowerCase() !== 'udp') throw otherType(type);
  if (port === 0) {
    throw malformed(
      'Backend.Port is 0: every host must have the same port, and 0 lets each kernel choose its own',
    );
  }
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > LARGEST_PORT) {
    throw malformed(`Backend.Port is ${describeJson(port)}, not a UDP port from 1 to ${LARGEST_PORT}`);
  }
  return { port };
}

function fieldsOf(backend: unknown): { Type?: unknown; Port?: unknown } {
  try {
    return pickGoFields(backend, ['Type', 'Port']);
  } catch (error) {
    throw malformed(`error decoding Backend property of config: ${messageOf(error)}`, error);
  }
}

function otherType(type: string): SelvageError {
  if (FLANNEL_BACKENDS.includes(type.toLowerCase())) {
    return new SelvageError(
      'ERR_BACKEND_TYPE',
      `this network's backend type is ${JSON.stringify(type)}: selvage carries "udp" only; ` +
        'run flanneld on its hosts, or give selvage a network of its own with --etcd-prefix',
    );
  }
  const shown = type === '' ? 'the Backend object has no Type' : describeJson(type);
  return new SelvageError(
    'ERR_BACKEND_TYPE',
    `unknown backend type: ${shown}; set Backend.Type to "udp" in the network config, or leave Backend out`,
  );
}

function malformed(message: string, cause?: unknown): SelvageError {
  return new SelvageError('ERR_NETWORK_CONFIG', message, { cause });
}
