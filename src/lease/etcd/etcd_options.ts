import { posix } from 'node:path';

import { SelvageError } from '../../errors.js';
import { checkTlsFiles, type TlsFiles } from './tls_files.js';

/** How to reach etcd. */
export interface EtcdStoreOptions {
  /** `http://host:port` or `https://host:port`; `host:port` means http, and the port is 2379 unless given. At least one. */
  readonly endpoints: readonly string[];
  /** Where the network's keys are; `/coreos.com/network` without it. Cleaned as Go's path.Join does. */
  readonly prefix?: string;
  /** PEM file with the authorities that may vouch for a server; without it those of the system may. */
  readonly caFile?: string;
  /** PEM files of the client certificate and its key: both or neither. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** User and password: both or neither. */
  readonly username?: string;
  readonly password?: string;
  /** Milliseconds that one request may take, failover included: 100..600,000; 5,000 without it. */
  readonly requestTimeoutMillis?: number;
}

/** Name and password of an etcd user. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Options that were checked. */
export interface CheckedEtcdOptions {
  /** Origins in canonical spelling with their port, without repetition, e.g. `http://[::1]:2379`. */
  readonly endpoints: readonly string[];
  /** What every key begins with, e.g. `/coreos.com/network/`. */
  readonly keyBase: string;
  readonly tls: TlsFiles;
  readonly credentials: Credentials | undefined;
  readonly requestTimeoutMillis: number;
  /** What is allowed but hardly meant, one sentence each. */
  readonly warnings: readonly string[];
}

const DEFAULT_PORT = 2379;
const DEFAULT_PREFIX = '/coreos.com/network';
const DEFAULT_REQUEST_TIMEOUT_MILLIS = 5_000;
const MIN_REQUEST_TIMEOUT_MILLIS = 100;
const MAX_REQUEST_TIMEOUT_MILLIS = 600_000;

/**
 * @throws SelvageError ERR_OPTION with the name of flannel's flag for the field (`etcd-endpoints: ...`), also when a file
 *   cannot be read or holds no certificate or key
 */
export function checkEtcdOptions(options: EtcdStoreOptions): CheckedEtcdOptions {
  const endpoints = [...new Set(options.endpoints.map(parseEndpoint))];
  if (endpoints.length === 0)
    throw optionError('etcd-endpoints', 'is empty; give one like http://127.0.0.1:2379');
  const tls = tlsOf(options);
  const usesTls = endpoints.some((endpoint) => endpoint.startsWith('https:'));
  if (usesTls) checkTlsFiles(tls);
  return {
    endpoints,
    keyBase: keyBaseOf(options.prefix ?? DEFAULT_PREFIX),
    tls,
    credentials: credentialsOf(options),
    requestTimeoutMillis: requestTimeoutOf(options),
    warnings: findWarnings(endpoints, tls),
  };
}

function parseEndpoint(given: string): string {
  const text = given.trim();
  const withScheme = text.includes('://') ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  const problem = url === undefined || text === '' ? 'is not a URL' : problemOf(url);
  if (url === undefined || problem !== undefined) {
    const quoted = JSON.stringify(text.replace(/\/\/[^/@]*@/, '//***@'));
    throw optionError('etcd-endpoints', `${quoted} ${problem}; write http://host:port or https://host:port`);
  }
  // URL drops a port that is its scheme's own: 80 or 443 may be what was written.
  const port = url.port || /:(80|443)\/?$/.exec(withScheme)?.[1] || DEFAULT_PORT;
  return `${url.protocol}//${url.hostname}:${port}`;
}

function problemOf(url: URL): string | undefined {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return `has the scheme ${url.protocol}//`;
  if (url.username !== '' || url.password !== '')
    return 'holds a password, which belongs into etcd-username and etcd-password';
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') return 'has a path';
  return undefined;
}

function keyBaseOf(prefix: string): string {
  const cleaned = posix.join(prefix, '.').replace(/\/$/, '');
  if (cleaned === '.') return '';
  return `${cleaned}/`;
}

function tlsOf(options: EtcdStoreOptions): TlsFiles {
  const { caFile, certFile, keyFile } = options;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const [given, missing] = certFile === undefined ? ['keyfile', 'certfile'] : ['certfile', 'keyfile'];
    throw optionError(`etcd-${missing}`, `is missing: etcd-${given} is given, and one needs the other`);
  }
  return { caFile, certFile, keyFile };
}

function credentialsOf({ username, password }: EtcdStoreOptions): Credentials | undefined {
  if (username === undefined && password === undefined) return undefined;
  if (username === undefined || username === '')
    throw optionError('etcd-username', 'is missing: etcd-password is given');
  if (password === undefined) throw optionError('etcd-password', 'is missing: etcd-username is given');
  return { username, password };
}

function requestTimeoutOf(options: EtcdStoreOptions): number {
  const millis = options.requestTimeoutMillis ?? DEFAULT_REQUEST_TIMEOUT_MILLIS;
  if (millis >= MIN_REQUEST_TIMEOUT_MILLIS && millis <= MAX_REQUEST_TIMEOUT_MILLIS) return millis;
  const range = `${MIN_REQUEST_TIMEOUT_MILLIS} to ${MAX_REQUEST_TIMEOUT_MILLIS}`;
  throw optionError('requestTimeoutMillis', `${millis} is not a number of milliseconds from ${range}`);
}

/** flanneld uses no TLS unless it has both key and certificate; here the scheme of the endpoint alone decides. */
function findWarnings(endpoints: readonly string[], { caFile, certFile }: TlsFiles): string[] {
  if (caFile === undefined && certFile === undefined) return [];
  return endpoints
    .filter((endpoint) => endpoint.startsWith('http:'))
    .map((endpoint) => `the certificate files are not used for ${endpoint}: write https:// to have TLS`);
}

function optionError(field: string, problem: string): SelvageError {
  return new SelvageError('ERR_OPTION', `${field}: ${problem}`);
}
