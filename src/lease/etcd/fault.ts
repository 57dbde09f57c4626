import { Code, ConnectError } from '@connectrpc/connect';

import { messageOf, SelvageError } from '../../errors.js';
import { CONNECT_TIMED_OUT } from './connect_socket.js';

/** What a request that failed calls for. */
export type FaultKind =
  /** This server could not serve it now: another may. */
  | 'server'
  /** This server and we do not accept each other's certificates: another server may do. */
  | 'tls'
  /** The token is unknown or outdated: a new one may do. */
  | 'token'
  /** User or password are wrong. */
  | 'credentials'
  /** The user may not do this. An outdated token looks the same to a watch (etcd 3.4 watchServer.isWatchPermitted). */
  | 'permission'
  /** The revision asked for is gone. */
  | 'compacted'
  /** The server understood and refused. */
  | 'refused';

/** Why a request failed. */
export interface Fault {
  readonly kind: FaultKind;
  /** Cause, and remedy where one is known; part of one line. */
  readonly reason: string;
  /** The request may have been carried out although no answer came. */
  readonly maybeDone: boolean;
}

/** A fault as something to throw. */
export class RequestFault extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.reason);
    this.fault = fault;
  }
}

/** Errors underneath an error that are looked at. */
const MOST_CAUSES = 8;
/** Characters of a server's text that a message repeats. */
const MOST_TEXT = 300;

/** Said by a member of a cluster that cannot hear most of the others (etcd rpctypes.ErrGRPCNoLeader). */
const NO_LEADER = "no leader: do most of the etcd cluster's members run, and reach each other?";

/** Node's and OpenSSL's codes of connections that did not come about, or ended. */
const CONNECTION_FAULTS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused: is etcd running, and is etcd-endpoints right?',
  ENOTFOUND: 'no such host: is etcd-endpoints right?',
  EAI_AGAIN: 'the name cannot be resolved now: is a name server reachable?',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  EADDRNOTAVAIL: 'no local address to connect from',
  EACCES: 'connecting is forbidden here, as by a firewall',
  EPERM: 'connecting is forbidden here, as by a firewall',
  EMFILE: 'too many open files: raise ulimit -n',
  [CONNECT_TIMED_OUT]: 'no answer to the connection attempt: is a firewall between?',
  ETIMEDOUT: 'no answer to the connection attempt: is a firewall between?',
};

/** `reason` of a fault: the connection came about, and then ended. */
export const CONNECTION_ENDED = 'the server ended the connection';

const ENDED_FAULTS: Readonly<Record<string, string>> = {
  ECONNRESET: CONNECTION_ENDED,
  EPIPE: CONNECTION_ENDED,
  ERR_HTTP2_SESSION_ERROR: CONNECTION_ENDED,
  ERR_HTTP2_STREAM_ERROR: 'the server ended the request',
  ERR_HTTP2_STREAM_CANCEL: CONNECTION_ENDED,
  ERR_HTTP2_GOAWAY_SESSION: CONNECTION_ENDED,
  ERR_HTTP2_ERROR:
    'the server does not speak HTTP/2 here: is it https, and is the port that of etcd clients?',
};

/** Codes of certificates that we do not accept (Node: tls, "X509 certificate error codes"). */
const CERTIFICATE_FAULTS: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed: name it, or its authority, with etcd-cafile',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is of an unknown authority: is etcd-cafile the right one?',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is of an unknown authority: is etcd-cafile the right one?',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    'its certificate is of an unknown authority: is etcd-cafile the right one?',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'its certificate is of an unknown authority: is etcd-cafile the right one?',
  CERT_SIGNATURE_FAILURE:
    'its certificate is not signed by the authority it names: is etcd-cafile the right one?',
  CERT_HAS_EXPIRED: 'its certificate has expired, or the clock of this host is wrong',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet, or the clock of this host is wrong',
  CERT_REVOKED: 'its certificate has been revoked',
  CERT_UNTRUSTED: 'its certificate is not trusted for servers',
  INVALID_PURPOSE: 'its certificate is not meant for servers',
};

const CLIENT_CERTIFICATE =
  'it does not accept our client certificate, or wants one: check etcd-certfile and etcd-keyfile';

/** Of a token that is unknown, missing or older than the last change of users (etcd rpctypes/error.go). */
const TOKEN_TEXTS = ['invalid auth token', 'user name is empty', 'revision of auth store is old'];
const CREDENTIAL_TEXTS = ['authentication failed'];

/** Makes sense of what a request threw. */
export function faultOf(thrown: unknown): Fault {
  if (thrown instanceof RequestFault) return thrown.fault;
  const chain = causesOf(thrown);
  const local = chain.find((each) => each instanceof SelvageError);
  if (local !== undefined) return { kind: 'tls', reason: local.message, maybeDone: false };
  for (const each of chain) {
    const fault = faultOfConnection(each);
    if (fault !== undefined) return fault;
  }
  if (thrown instanceof ConnectError) return faultOfAnswer(thrown);
  return { kind: 'server', reason: oneLine(messageOf(thrown)), maybeDone: true };
}

/** The fault of a watch that the server cancelled, by the reason it gave. */
export function faultOfCancel(reason: string): Fault {
  if (reason.includes('permission denied'))
    return { kind: 'permission', reason: 'permission denied', maybeDone: false };
  if (TOKEN_TEXTS.some((text) => reason.includes(text))) return tokenFault(reason);
  if (reason.includes('compacted')) return { kind: 'compacted', reason: oneLine(reason), maybeDone: false };
  return { kind: 'server', reason: oneLine(reason) || 'the server ended the watch', maybeDone: false };
}

function causesOf(thrown: unknown): Error[] {
  const chain: Error[] = [];
  for (let each = thrown; each instanceof Error && chain.length < MOST_CAUSES; each = each.cause) {
    chain.push(each);
    // Of a name with several addresses: each attempt's own error.
    if (each instanceof AggregateError && each.errors[0] instanceof Error) chain.push(each.errors[0]);
  }
  return chain;
}

function faultOfConnection(error: Error): Fault | undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string') return undefined;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return {
      kind: 'tls',
      reason: `its certificate is for another name: ${altNameText(error)}`,
      maybeDone: false,
    };
  const certificate = CERTIFICATE_FAULTS[code];
  if (certificate !== undefined) return { kind: 'tls', reason: certificate, maybeDone: false };
  // An alert comes behind the handshake in TLS 1.3, when a request may be on its way; it is not carried out.
  if (/^ERR_SSL_.*ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/.test(code))
    return { kind: 'tls', reason: CLIENT_CERTIFICATE, maybeDone: false };
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG')
    return { kind: 'tls', reason: 'it does not speak TLS: is it http://?', maybeDone: false };
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO')
    return { kind: 'tls', reason: `TLS failed: ${oneLine(error.message)}`, maybeDone: false };
  const never = CONNECTION_FAULTS[code];
  if (never !== undefined) return { kind: 'server', reason: never, maybeDone: false };
  const ended = ENDED_FAULTS[code];
  return ended === undefined ? undefined : { kind: 'server', reason: ended, maybeDone: true };
}

function altNameText(error: Error): string {
  const { reason } = error as Error & { reason?: unknown };
  return oneLine(typeof reason === 'string' ? reason : error.message);
}

function faultOfAnswer(error: ConnectError): Fault {
  const text = oneLine(error.rawMessage.replace(/^etcdserver: /, ''));
  if (error.code === Code.Unauthenticated || TOKEN_TEXTS.some((each) => text.includes(each)))
    return tokenFault(text);
  if (CREDENTIAL_TEXTS.some((each) => text.includes(each)))
    return { kind: 'credentials', reason: text, maybeDone: false };
  switch (error.code) {
    case Code.PermissionDenied:
      return { kind: 'permission', reason: text, maybeDone: false };
    case Code.OutOfRange:
      return { kind: 'compacted', reason: text, maybeDone: false };
    case Code.ResourceExhausted: // "too many requests" passes; "database space exceeded" does not
      return {
        kind: text.includes('space exceeded') ? 'refused' : 'server',
        reason: spaceText(text),
        maybeDone: false,
      };
    case Code.Canceled: // not by us: the connection went away under the stream
      return { kind: 'server', reason: CONNECTION_ENDED, maybeDone: true };
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Aborted:
    case Code.Internal:
    case Code.Unknown:
      return { kind: 'server', reason: endText(text), maybeDone: true };
    case Code.Unimplemented:
      return { kind: 'server', reason: `it does not answer as etcd v3 does: ${text}`, maybeDone: false };
    default:
      return { kind: 'refused', reason: text, maybeDone: false };
  }
}

/** Connect's words for a stream that was reset (connect-node, node-error.js) name neither who did it nor what it means. */
function endText(text: string): string {
  if (text === 'no leader') return NO_LEADER;
  return text.startsWith('http/2 stream closed') ? `the server ended the request: ${text}` : text;
}

function spaceText(text: string): string {
  if (!text.includes('space exceeded')) return text;
  return `${text}: compact and defragment it, then etcdctl alarm disarm`;
}

function tokenFault(text: string): Fault {
  return { kind: 'token', reason: oneLine(text), maybeDone: false };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, MOST_TEXT);
}
