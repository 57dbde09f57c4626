import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { createServer as createHttpServer, request, type RequestOptions } from 'node:http';
import { connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';

import t, { type Test } from 'tap';

import { agentRoutesOf, statusOf } from '../../src/agent/agent_status.js';
import type { AgentView } from '../../src/agent/agent_view.js';
import { listControlSockets, readAgentRoutes, readStatus } from '../../src/agent/control_client.js';
import { ControlServer } from '../../src/agent/control_server.js';
import { until } from '../netns/until.js';
import { AWAY, fileView, peer, stats, storeView, view } from './agent_fixture.js';

const LOOPBACK = '127.0.0.1';
const MAX_CONNECTIONS = 64;

interface Answer {
  readonly code: number | undefined;
  readonly headers: Record<string, unknown>;
  readonly body: string;
}

/** A directory with a short name, as that of a unix socket must fit into 107 bytes. */
function directory(t: Test): string {
  const path = mkdtempSync(`${tmpdir()}/selvage-test-`);
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

async function ask(options: RequestOptions): Promise<Answer> {
  const asked = request({ agent: false, ...options }).end();
  const [response] = (await once(asked, 'response')) as [import('node:http').IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += String(chunk);
  return { code: response.statusCode, headers: response.headers, body };
}

interface Opened {
  readonly server: ControlServer;
  readonly socketPath: string;
  readonly port: number;
}

/** Both listeners, which show what `shown` returns at the time. */
async function open(t: Test, shown: () => AgentView = () => view()): Promise<Opened> {
  const socketPath = `${directory(t)}/run/flannel0.sock`;
  const server = await ControlServer.open({ view: shown, socketPath, health: { ip: LOOPBACK, port: 0 } });
  t.teardown(() => server.close());
  return { server, socketPath, port: server.healthPort! };
}

/** Anything that listens; closed at the end of the test. */
async function listening<T extends Server>(t: Test, server: T, where: ListenOptions): Promise<T> {
  server.listen(where);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return server;
}

/** Leaves the socket of a daemon that was killed: bound, moved away from the name that is removed at the end. */
async function leaveStaleSocket(path: string): Promise<void> {
  const server = createServer().listen({ path: `${path}.bound` });
  await once(server, 'listening');
  renameSync(`${path}.bound`, path);
  server.close();
  await once(server, 'close');
}

async function connected(port: number): Promise<Socket> {
  const socket = connect({ host: LOOPBACK, port });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

const OK = view();
const DEGRADED = storeView({ connection: AWAY });
const FAILING = view({ fatal: 'the device is gone' });
const NOT_READY = view({ subnetFile: { path: '/run/x', written: false } });

t.test('a probe gets its answer from both listeners: degraded is alive, failing is not', async (t) => {
  let shown = OK;
  const { socketPath, port } = await open(t, () => shown);
  const rows: [AgentView, string, number, object][] = [
    [OK, '/healthz', 200, { status: 'ok', reasons: [] }],
    [DEGRADED, '/healthz', 200, { status: 'degraded', reasons: [{ since: '2026-03-01T12:30:00.000Z' }] }],
    [FAILING, '/healthz', 503, { status: 'failing', reasons: [{ code: 'fatal' }] }],
    [OK, '/readyz', 200, { ready: true, reasons: [] }],
    [DEGRADED, '/readyz', 200, { ready: true }],
    [NOT_READY, '/readyz', 503, { ready: false, reasons: [{ code: 'subnetFile' }] }],
  ];
  for (const [state, path, code, body] of rows) {
    shown = state;
    for (const where of [{ socketPath }, { host: LOOPBACK, port }]) {
      const answer = await ask({ ...where, path });
      t.equal(answer.code, code, path);
      t.match(JSON.parse(answer.body), body);
      t.match(answer.headers, { 'content-type': /^application\/json/, 'cache-control': 'no-store' });
    }
  }
});

t.test('metrics come in the text format of Prometheus', async (t) => {
  const { socketPath, port } = await open(t);
  for (const where of [{ socketPath }, { host: LOOPBACK, port }]) {
    const { code, headers, body } = await ask({ ...where, path: '/metrics' });
    t.equal(code, 200);
    t.match(headers, { 'content-type': /^text\/plain; version=0\.0\.4/ });
    t.match(body, /^selvage_store_connected 1$/m);
  }
});

t.test('only the control socket tells status and routes', async (t) => {
  const { socketPath, port } = await open(t);
  for (const path of ['/status', '/routes']) {
    t.equal((await ask({ socketPath, path })).code, 200);
    t.equal((await ask({ host: LOOPBACK, port, path })).code, 404);
  }
});

t.test('a query is no part of the path', async (t) => {
  const { socketPath } = await open(t);
  t.equal((await ask({ socketPath, path: '/healthz?verbose' })).code, 200);
});

t.test('HEAD gets the headers of GET and no body', async (t) => {
  const { socketPath } = await open(t);
  for (const path of ['/healthz', '/readyz', '/status', '/routes']) {
    const got = await ask({ socketPath, path });
    const head = await ask({ socketPath, path, method: 'HEAD' });
    t.equal(head.code, got.code);
    t.equal(head.body, '');
    t.equal(head.headers['content-length'], String(Buffer.byteLength(got.body)));
  }
});

t.test('another path is 404, another method 405 with what is allowed', async (t) => {
  const { socketPath, port } = await open(t);
  for (const where of [{ socketPath }, { host: LOOPBACK, port }]) {
    for (const path of ['/', '/health', '/healthz/', '/constructor', '/../etc/passwd']) {
      t.equal((await ask({ ...where, path })).code, 404, path);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const { code, headers } = await ask({ ...where, path: '/healthz', method });
      t.equal(code, 405, method);
      t.equal(headers['allow'], 'GET, HEAD');
    }
  }
});

t.test('a view that throws costs that answer only', async (t) => {
  let broken = true;
  const { socketPath } = await open(t, () => {
    if (broken) throw new Error('no view');
    return OK;
  });
  const { code, body } = await ask({ socketPath, path: '/healthz' });
  t.equal(code, 500);
  t.match(JSON.parse(body), { error: 'no view' });
  broken = false;
  t.equal((await ask({ socketPath, path: '/healthz' })).code, 200);
});

t.test('the socket is for its owner and group, in a directory that all may pass', async (t) => {
  const before = process.umask(0o077);
  t.teardown(() => process.umask(before));
  const { socketPath } = await open(t);
  t.equal(statSync(socketPath).mode & 0o777, 0o660);
  t.equal(statSync(dirname(socketPath)).mode & 0o777, 0o755);
});

t.test('a directory that was there keeps its mode', async (t) => {
  const root = `${directory(t)}/run`;
  mkdirSync(root);
  chmodSync(root, 0o700);
  const server = await ControlServer.open({ view: () => OK, socketPath: `${root}/a.sock` });
  t.teardown(() => server.close());
  t.equal(statSync(root).mode & 0o777, 0o700);
});

t.test('the socket of a daemon that was killed is replaced', async (t) => {
  const socketPath = `${directory(t)}/flannel0.sock`;
  await leaveStaleSocket(socketPath);
  t.ok(existsSync(socketPath));
  const server = await ControlServer.open({ view: () => OK, socketPath });
  t.teardown(() => server.close());
  t.equal((await ask({ socketPath, path: '/healthz' })).code, 200);
});

t.test('the socket of a living daemon is not taken, and the error says whose it is', async (t) => {
  const { socketPath } = await open(t);
  await t.rejects(ControlServer.open({ view: () => OK, socketPath }), {
    code: 'ERR_CONTROL_SOCKET',
    message: `${socketPath}: selvage 1.2.3 with process id ${process.pid} answers there, for /coreos.com/network; `,
  });
  t.equal((await ask({ socketPath, path: '/healthz' })).code, 200, 'it goes on');
});

t.test('the socket of another program is not taken', async (t) => {
  const socketPath = `${directory(t)}/other.sock`;
  await listening(
    t,
    createServer((socket) => socket.destroy()),
    { path: socketPath },
  );
  await t.rejects(ControlServer.open({ view: () => OK, socketPath }), {
    code: 'ERR_CONTROL_SOCKET',
    message: /another process answers there/,
  });
  t.ok(existsSync(socketPath));
});

t.test('what is no socket is not removed', async (t) => {
  const socketPath = `${directory(t)}/precious`;
  writeFileSync(socketPath, 'x');
  await t.rejects(ControlServer.open({ view: () => OK, socketPath }), {
    code: 'ERR_CONTROL_SOCKET',
    message: /exists and is no socket/,
  });
  t.equal(statSync(socketPath).size, 1);
});

t.test('a path that cannot be a socket is refused with the reason', async (t) => {
  const root = directory(t);
  writeFileSync(`${root}/file`, '');
  const rows: [string, RegExp][] = [
    [`${root}/${'x'.repeat(107 - root.length)}`, /longer than 107 bytes/],
    [`${root}/file/flannel0.sock`, /EEXIST|ENOTDIR/],
  ];
  for (const [socketPath, message] of rows) {
    await t.rejects(ControlServer.open({ view: () => OK, socketPath }), {
      code: 'ERR_CONTROL_SOCKET',
      message,
    });
  }
  const longest = `${root}/${'x'.repeat(106 - root.length)}`;
  const server = await ControlServer.open({ view: () => OK, socketPath: longest });
  t.teardown(() => server.close());
  t.ok(existsSync(longest), '107 bytes are fine');
});

t.test('a port that is taken is an error with a remedy, and leaves no socket behind', async (t) => {
  const { port } = await open(t);
  const socketPath = `${directory(t)}/second.sock`;
  await t.rejects(ControlServer.open({ view: () => OK, socketPath, health: { ip: LOOPBACK, port } }), {
    code: 'ERR_HEALTH_PORT',
    message: `health server on 127.0.0.1 port ${port}: the port is taken; `,
  });
  t.notOk(existsSync(socketPath));
});

t.test('an address that no interface has is an error with a remedy', async (t) => {
  await t.rejects(ControlServer.open({ view: () => OK, health: { ip: '192.0.2.77', port: 0 } }), {
    code: 'ERR_HEALTH_PORT',
    message: /no interface has the address/,
  });
});

t.test('without listeners there is nothing to open or close', async (t) => {
  const server = await ControlServer.open({ view: () => OK });
  t.equal(server.healthPort, undefined);
  await server.close();
});

t.test(
  'close waits neither for a silent connection nor for half a request, and removes the socket',
  async (t) => {
    const { server, socketPath, port } = await open(t);
    const silent = await connected(port);
    const half = await connected(port);
    half.write('GET /healthz HTTP/1.1\r\nHost:');
    await ask({ host: LOOPBACK, port, path: '/healthz' }); // the two came before it
    const gone = [once(silent, 'close'), once(half, 'close')];
    await server.close();
    await Promise.all(gone);
    t.notOk(existsSync(socketPath));
    t.equal(server.close(), server.close(), 'it may be called again');
    await t.rejects(ask({ host: LOOPBACK, port, path: '/healthz' }), { code: 'ECONNREFUSED' });
  },
);

t.test('connections beyond the bound are turned away until others end', async (t) => {
  const { port } = await open(t);
  const held: Socket[] = [];
  for (let i = 0; i < MAX_CONNECTIONS; i++) held.push(await connected(port));
  t.teardown(() => held.forEach((socket) => socket.destroy()));
  const beyond = await connected(port);
  await once(beyond, 'close');
  t.ok(held.every((socket) => !socket.destroyed));
  const [first] = held;
  first!.end();
  // The server counts it until it has seen the end too.
  const asked = () => ask({ host: LOOPBACK, port, path: '/healthz' }).catch(() => undefined);
  await until('a free place', async () => (await asked())?.code === 200);
});

t.test('headers beyond the bound are refused', async (t) => {
  const { port } = await open(t);
  const { code } = await ask({ host: LOOPBACK, port, path: '/healthz', headers: { x: 'x'.repeat(9000) } });
  t.equal(code, 431);
});

t.test('a request that does not end is cut off', async (t) => {
  const { port } = await open(t);
  const rows = [
    'GET /healthz HTTP/1.1\r\nHost: a\r\n',
    'POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx',
  ];
  await Promise.all(
    rows.map(async (text) => {
      const socket = await connected(port);
      socket.write(text);
      await once(socket.resume(), 'close');
    }),
  );
  t.pass('both connections were closed by the server');
});

t.test('a client reads the status and the routes as they are', async (t) => {
  const forwarder = stats({ peers: [peer({ framesOut: 5, bytesOut: 500, framesIn: 7, bytesIn: 700 })] });
  for (const shown of [view({ forwarder }), fileView(), FAILING, DEGRADED]) {
    const { socketPath } = await open(t, () => shown);
    t.strictSame(await readStatus(socketPath), statusOf(shown));
    t.strictSame(await readAgentRoutes(socketPath), agentRoutesOf(shown));
  }
});

t.test('a route shows what its next hop counted', async (t) => {
  const counted = { framesOut: 5, bytesOut: 500, framesIn: 7, bytesIn: 700 };
  const { socketPath } = await open(t, () =>
    view({ forwarder: stats({ peers: [peer({ ...counted, pathMtuBytes: 1400 })] }) }),
  );
  t.strictSame(await readAgentRoutes(socketPath), [
    { prefix: '10.1.10.0/24', nextHop: '192.0.2.2', port: 8285, pathMtuBytes: 1400, ...counted },
    {
      prefix: '10.1.9.0/24',
      nextHop: '192.0.2.3',
      port: 8286,
      pathMtuBytes: null,
      framesOut: 0,
      bytesOut: 0,
      framesIn: 0,
      bytesIn: 0,
    },
  ]);
});

t.test('65,536 routes are read whole', async (t) => {
  const routes = Array.from({ length: 65_536 }, (_, index) => ({
    prefix: `10.${index >> 8}.${index & 255}.0/24`,
    nextHop: '192.0.2.2',
    port: 8285,
  }));
  const { socketPath } = await open(t, () => view({ routes: () => routes }));
  t.equal((await readAgentRoutes(socketPath)).at(-1)?.prefix, '10.255.255.0/24');
});

t.test('where no daemon answers, the error names the remedy', async (t) => {
  const root = directory(t);
  await leaveStaleSocket(`${root}/stale.sock`);
  for (const name of ['absent.sock', 'none/absent.sock', 'stale.sock']) {
    const expected = { code: 'ERR_NO_DAEMON', message: /no selvage runs there; start it with 'selvage run'/ };
    await t.rejects(readStatus(`${root}/${name}`), expected, name);
    await t.rejects(readAgentRoutes(`${root}/${name}`), expected, name);
  }
});

t.test('what is no selvage is not taken for one', async (t) => {
  const root = directory(t);
  const answers: [string, number, string][] = [
    ['text', 200, 'hello'],
    ['object', 200, '{"version": 1}'],
    ['null', 200, 'null'],
    ['error', 404, JSON.stringify(statusOf(OK))],
  ];
  for (const [name, code, body] of answers) {
    const server = createHttpServer((_, response) => response.writeHead(code).end(body));
    const path = `${root}/${name}.sock`;
    await listening(t, server, { path });
    const expected = { code: 'ERR_CONTROL_SOCKET', message: /what answers there is no selvage/ };
    await t.rejects(readStatus(path), expected, name);
    await t.rejects(readAgentRoutes(path), expected, name);
  }
  await listening(
    t,
    createServer((socket) => socket.end('SSH-2.0-x\r\n')),
    { path: `${root}/ssh.sock` },
  );
  await t.rejects(readStatus(`${root}/ssh.sock`), { code: 'ERR_CONTROL_SOCKET' }, 'no HTTP at all');
});

t.test('a daemon that hangs is given up on', async (t) => {
  const path = `${directory(t)}/hangs.sock`;
  const sockets: Socket[] = [];
  await listening(
    t,
    createServer((socket) => sockets.push(socket)),
    { path },
  );
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  await t.rejects(readStatus(path), { code: 'ERR_CONTROL_SOCKET', message: /no answer within 5 s/ });
});

t.test('the sockets of a directory are listed in order, and nothing else', async (t) => {
  const root = directory(t);
  for (const name of ['flannel1.sock', 'flannel0.sock', 'other']) {
    await listening(t, createServer(), { path: `${root}/${name}` });
  }
  writeFileSync(`${root}/file.sock`, '');
  t.strictSame(await listControlSockets(root), [`${root}/flannel0.sock`, `${root}/flannel1.sock`]);
  t.strictSame(await listControlSockets(`${root}/none`), []);
});
