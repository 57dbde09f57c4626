import { Code, ConnectError } from '@connectrpc/connect';
import t from 'tap';

import { faultOf, faultOfCancel } from '../../src/lease/etcd/fault.js';

function nodeError(code: string): ConnectError {
  const error = new ConnectError('something', Code.Internal);
  error.cause = Object.assign(new Error('something'), { code });
  return error;
}

t.test('a connection that never came about is told from one that ended', (t) => {
  for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'SELVAGE_CONNECT_TIMED_OUT']) {
    t.match(faultOf(nodeError(code)), { kind: 'server', maybeDone: false }, code);
  }
  for (const code of ['ECONNRESET', 'EPIPE', 'ERR_HTTP2_SESSION_ERROR']) {
    t.match(faultOf(nodeError(code)), { kind: 'server', maybeDone: true }, code);
  }
  t.end();
});

t.test('a certificate fault says which', (t) => {
  const cases = {
    CERT_HAS_EXPIRED: /has expired, or the clock/,
    CERT_NOT_YET_VALID: /not valid yet, or the clock/,
    DEPTH_ZERO_SELF_SIGNED_CERT: /self-signed/,
    ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: /our client certificate/,
    ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: /our client certificate/,
    ERR_SSL_WRONG_VERSION_NUMBER: /does not speak TLS/,
  };
  for (const [code, reason] of Object.entries(cases)) {
    t.match(faultOf(nodeError(code)), { kind: 'tls', reason, maybeDone: false }, code);
  }
  t.end();
});

t.test('what etcd answers is taken for what it means', (t) => {
  const cases: readonly (readonly [Code, string, string])[] = [
    [Code.Unauthenticated, 'etcdserver: invalid auth token', 'token'],
    [Code.InvalidArgument, 'etcdserver: user name is empty', 'token'],
    [Code.InvalidArgument, 'etcdserver: revision of auth store is old', 'token'],
    [Code.InvalidArgument, 'etcdserver: authentication failed, invalid user ID or password', 'credentials'],
    [Code.PermissionDenied, 'etcdserver: permission denied', 'permission'],
    [Code.OutOfRange, 'etcdserver: mvcc: required revision has been compacted', 'compacted'],
    [Code.Unavailable, 'etcdserver: no leader', 'server'],
    [Code.ResourceExhausted, 'etcdserver: too many requests', 'server'],
    [Code.ResourceExhausted, 'etcdserver: mvcc: database space exceeded', 'refused'],
    [Code.InvalidArgument, 'etcdserver: request is too large', 'refused'],
  ];
  for (const [code, text, kind] of cases) t.equal(faultOf(new ConnectError(text, code)).kind, kind, text);
  t.equal(
    faultOfCancel('rpc error: code = PermissionDenied desc = etcdserver: permission denied').kind,
    'permission',
  );
  t.equal(faultOfCancel('etcdserver: mvcc: required revision has been compacted').kind, 'compacted');
  t.equal(faultOfCancel('').kind, 'server');
  t.end();
});

t.test('a reason is one line and not long, whatever a server says', (t) => {
  const { reason } = faultOf(new ConnectError(`a\nb${'x'.repeat(10_000)}`, Code.Unknown));
  t.notMatch(reason, /\n/);
  t.ok(reason.length <= 300);
  t.end();
});
