import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

import { readSecureContext, type TlsFiles } from './tls_files.js';

/** A server that answers at all does so within this; a call has then time left for the next one. */
const CONNECT_MILLIS = 2_000;
/** For each address of a name with several, tried one after the other (RFC 8305); Node's 250 ms is short for a far server. */
const ADDRESS_MILLIS = 600;

/** `code` of the error of a connection that did not come about in time. */
export const CONNECT_TIMED_OUT = 'SELVAGE_CONNECT_TIMED_OUT';

/**
 * Starts a connection for HTTP/2.
 *
 * @param origin `http://host:port` or `https://host:port`
 * @throws SelvageError ERR_STORE_DENIED when a certificate file cannot be used
 */
export function connectSocket(origin: URL, files: TlsFiles): Socket {
  const host = origin.hostname.replace(/^\[|\]$/g, '');
  const secure = origin.protocol === 'https:';
  const address = {
    host,
    port: Number(origin.port || (secure ? 443 : 80)),
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: ADDRESS_MILLIS,
  };
  const socket = secure
    ? connectTls({
        ...address,
        // A name is sent to the server (RFC 6066 section 3 forbids an address); either is checked against the certificate.
        servername: isIP(host) === 0 ? host : '',
        secureContext: readSecureContext(files),
        ALPNProtocols: ['h2'],
      })
    : connectTcp(address);
  socket.setNoDelay(true);
  endWhenLate(socket, secure ? 'secureConnect' : 'connect');
  return socket;
}

function endWhenLate(socket: Socket, ready: string): void {
  const timer = setTimeout(() => {
    const late = new Error(`no connection within ${CONNECT_MILLIS / 1000} s`);
    socket.destroy(Object.assign(late, { code: CONNECT_TIMED_OUT }));
  }, CONNECT_MILLIS);
  socket.once(ready, () => clearTimeout(timer));
  socket.once('close', () => clearTimeout(timer));
}
