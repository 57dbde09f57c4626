import { existsSync, readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';

import { messageOf, SelvageError } from '../../errors.js';

/** Paths of PEM files. */
export interface TlsFiles {
  /** Authorities that may vouch for a server; undefined for those of the system. */
  readonly caFile: string | undefined;
  /** Client certificate and key: both or neither. */
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

/**
 * Where distributions keep the authorities that the host trusts, as Go's crypto/x509 looks for them (root_linux.go): Node's
 * own list, which is used where none exists, lacks an authority that an operator added.
 */
const SYSTEM_CA_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** @throws SelvageError ERR_OPTION naming flag and file when one cannot be used */
export function checkTlsFiles(files: TlsFiles): void {
  try {
    readSecureContext(files);
  } catch (error) {
    throw new SelvageError('ERR_OPTION', messageOf(error), { cause: error });
  }
}

/**
 * What a connection needs of the files as they are now, so that certificates which were renewed count from the next
 * connection on. TLS 1.2 at least, as flanneld.
 *
 * @throws SelvageError ERR_STORE_DENIED naming flag and file
 */
export function readSecureContext(files: TlsFiles): SecureContext {
  const ca = readCa(files.caFile);
  const cert = readPem('etcd-certfile', files.certFile);
  const key = readPem('etcd-keyfile', files.keyFile);
  if (files.caFile !== undefined && !/-----BEGIN (TRUSTED )?CERTIFICATE-----/.test(ca ?? ''))
    throw fileError('etcd-cafile', files.caFile, 'holds no PEM certificate');
  try {
    return createSecureContext({
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    });
  } catch (error) {
    throw fileError(
      'etcd-certfile, etcd-keyfile',
      [files.certFile, files.keyFile].join(', '),
      `not a certificate and its key in PEM: ${messageOf(error)}`,
      error,
    );
  }
}

function readCa(caFile: string | undefined): string | undefined {
  if (caFile !== undefined) return readPem('etcd-cafile', caFile);
  const system = process.env.SSL_CERT_FILE ?? SYSTEM_CA_FILES.find((path) => existsSync(path));
  return readPem('SSL_CERT_FILE', system);
}

function readPem(flag: string, path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'permission denied' : messageOf(error);
    throw fileError(flag, path, reason, error);
  }
}

function fileError(flag: string, path: string, reason: string, cause?: unknown): SelvageError {
  return new SelvageError('ERR_STORE_DENIED', `${flag}: ${path}: ${reason}`, { cause });
}
