import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

import { searchPath } from './child.js';
import { ensurePackages } from './packages.js';

/** Paths of a certificate and its key, in PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** An authority and what it has signed. */
export interface Certificates {
  readonly ca: KeyPair;
  /** For 127.0.0.1, ::1, localhost and the addresses asked for. */
  readonly server: KeyPair;
  /** CN=selvage-client. */
  readonly client: KeyPair;
}

const DAYS = '2';

/** Makes an authority, a server's certificate and a client's in `directory`; names begin with `name`. */
export function makeCertificates(
  directory: string,
  addresses: readonly string[] = [],
  name = 'test',
): Certificates {
  ensurePackages(['openssl']);
  const pathsOf = (role: string): KeyPair => ({
    cert: join(directory, `${name}-${role}.pem`),
    key: join(directory, `${name}-${role}.key`),
  });
  const ca = pathsOf('ca');
  makeKeyPair(ca, `/CN=${name} authority`, ['basicConstraints=critical,CA:TRUE', 'keyUsage=keyCertSign']);
  const names = ['127.0.0.1', '::1', ...addresses].map((address) => `IP:${address}`);
  const server = pathsOf('server');
  // etcd's own gateway connects to it with this certificate, so it is a client's too.
  const usage = 'extendedKeyUsage=serverAuth,clientAuth';
  makeKeyPair(server, '/CN=etcd', [usage, `subjectAltName=DNS:localhost,${names.join(',')}`], ca);
  const client = pathsOf('client');
  makeKeyPair(client, '/CN=selvage-client', ['extendedKeyUsage=clientAuth'], ca);
  return { ca, server, client };
}

/** A key pair for `subject`, signed by `issuer` or by itself. */
function makeKeyPair(
  { cert, key }: KeyPair,
  subject: string,
  extensions: readonly string[],
  issuer?: KeyPair,
): void {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  args.push('-days', DAYS, '-subj', subject, '-out', cert, '-keyout', key);
  for (const extension of extensions) args.push('-addext', extension);
  if (issuer !== undefined) {
    args.push('-CA', issuer.cert, '-CAkey', issuer.key, '-addext', 'basicConstraints=critical,CA:FALSE');
  }
  execFileSync('openssl', args, {
    env: { ...process.env, PATH: searchPath() },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}
