import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';

import t, { type Test } from 'tap';

import { ControlServer } from '../../src/agent/control_server.js';
import { traceFrames } from '../../src/agent/trace_client.js';
import type { TraceStart } from '../../src/agent/trace_lines.js';
import { type StartTrace, traceNotReady } from '../../src/agent/trace_stream.js';
import { INBOUND, OUTBOUND } from '../../src/workers/counters.js';
import type { TraceOptions } from '../../src/workers/trace_filter.js';
import type { TraceRecord, TraceTotals } from '../../src/workers/trace_record.js';
import type { TraceSession } from '../../src/workers/trace_session.js';
import { until } from '../netns/until.js';
import { view } from './agent_fixture.js';
import { numbered, type Traced, traced, tracedBurst } from './trace_fixture.js';

interface Daemon extends Traced {
  readonly socketPath: string;
  readonly sessions: TraceSession[];
}

/** A control server over lanes that the test drives. */
async function daemon(t: Test, lanes = 1): Promise<Daemon> {
  const ends = traced(lanes);
  const sessions: TraceSession[] = [];
  const start: StartTrace = (options, listener) => {
    const session = ends.start(options, listener);
    sessions.push(session);
    return session;
  };
  const socketPath = await serve(t, start);
  return { ...ends, socketPath, sessions };
}

async function serve(t: Test, trace?: StartTrace): Promise<string> {
  const directory = mkdtempSync(`${tmpdir()}/selvage-test-`);
  t.teardown(() => rmSync(directory, { recursive: true }));
  const socketPath = `${directory}/flannel0.sock`;
  const server = await ControlServer.open({ view: () => view(), socketPath, ...(trace ? { trace } : {}) });
  t.teardown(() => server.close());
  return socketPath;
}

/** A client and what it was shown. */
function follow(socketPath: string, options: TraceOptions = {}) {
  const shown: TraceRecord[] = [];
  const starts: TraceStart[] = [];
  const totals: TraceTotals[] = [];
  const abort = new AbortController();
  const listener = {
    onStart: (start: TraceStart) => void starts.push(start),
    onRecord: (record: TraceRecord) => void shown.push(record),
    onTotals: (told: TraceTotals) => void totals.push(told),
  };
  const ended = traceFrames(socketPath, options, listener, { signal: abort.signal });
  ended.catch(() => undefined);
  return { shown, starts, totals, abort, ended };
}

t.test('a client is shown the frames that match, and what became of the others', async (t) => {
  const { tracers, socketPath, reader } = await daemon(t, 2);
  const client = follow(socketPath, { direction: 'inbound', recordsPerSecond: 10 });
  await until('the trace is on', () => client.starts.length > 0);
  t.strictSame(client.starts, [{ device: 'flannel0', lanes: 2 }]);
  const rows = Array.from({ length: 5 }, (_, i) => ({ frame: numbered(i), outerSource: '198.51.100.7' }));
  tracers[0]!.record(OUTBOUND, tracedBurst(rows), rows.length, 0, false);
  tracers[1]!.record(INBOUND, tracedBurst(rows), rows.length, 7, false);
  await until('the totals come', () => client.totals.length > 0);
  t.match(client.shown, [
    {
      lane: 1,
      time: new Date(7),
      direction: 'inbound',
      outerSource: '198.51.100.7',
      flow: { source: '10.1.1.2' },
    },
    { head: numbered(1), lengthBytes: rows[1]!.frame.length },
  ]);
  t.equal(client.shown.length, 2, 'a fifth of the rate at once');
  t.strictSame(client.totals.at(-1), { matched: 5, shown: 2, limited: 3, overrun: 0, unsent: 0 });
  client.abort.abort();
  await client.ended;
  await until('the lanes are left alone', () => reader.idle);
});

t.test(
  'one trace at a time: a second client is told so, and may begin when the first has gone',
  async (t) => {
    const { socketPath, reader } = await daemon(t);
    const first = follow(socketPath);
    await until('the trace is on', () => first.starts.length > 0);
    await t.rejects(follow(socketPath).ended, {
      code: 'ERR_TRACE_BUSY',
      message: /flannel0\.sock: another trace of this daemon is on: end it/,
    });
    first.abort.abort();
    await first.ended;
    await until('the lanes are left alone', () => reader.idle);
    const second = follow(socketPath);
    await until('the trace is on', () => second.starts.length > 0);
    second.abort.abort();
    await second.ended;
  },
);

t.test('what cannot be traced is refused with its reason', async (t) => {
  const { socketPath } = await daemon(t);
  await t.rejects(follow(socketPath, { reason: 'nope' as 'noRoute' }).ended, { code: 'ERR_TRACE_FILTER' });
  await t.rejects(follow(socketPath, { host: 'x' }).ended, { code: 'ERR_TRACE_FILTER' });
  await t.rejects(follow(socketPath, { port: 1.5 }).ended, { code: 'ERR_TRACE_FILTER' });
  const idle = await serve(t, () => {
    throw traceNotReady();
  });
  await t.rejects(follow(idle).ended, { code: 'ERR_TRACE_NOT_READY', message: /selvage status/ });
  const old = await serve(t);
  await t.rejects(follow(old).ended, { code: 'ERR_CONTROL_SOCKET', message: /version without traces/ });
  await t.rejects(follow(`${old}.none`).ended, { code: 'ERR_NO_DAEMON' });
});

t.test('a query with an unknown name, and another method, are refused', async (t) => {
  const { socketPath } = await daemon(t);
  const ask = async (path: string, method: string): Promise<IncomingMessage> => {
    const asked = request({ socketPath, path, method, agent: false }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    response.resume();
    return response;
  };
  t.equal((await ask('/trace?hots=10.1.1.2', 'GET')).statusCode, 400);
  t.equal((await ask('/trace?port=80x', 'GET')).statusCode, 400);
  for (const method of ['POST', 'HEAD']) {
    const refused = await ask('/trace', method);
    t.equal(refused.statusCode, 405);
    t.equal(refused.headers.allow, 'GET');
  }
});

t.test('when the forwarder closes, the client has the exact totals and is told', async (t) => {
  const { tracers, socketPath, sessions } = await daemon(t);
  const client = follow(socketPath);
  await until('the trace is on', () => client.starts.length > 0);
  tracers[0]!.record(INBOUND, tracedBurst([{ frame: numbered(1) }]), 1, 0, false);
  t.strictSame(await sessions[0]!.close(), { matched: 1, shown: 1, limited: 0, overrun: 0, unsent: 0 });
  t.equal(sessions[0]!.close(), sessions[0]!.close());
  await t.rejects(client.ended, { code: 'ERR_TRACE_ENDED', message: /trace again/ });
  t.equal(client.shown.length, 1);
  t.match(client.totals.at(-1), { matched: 1, shown: 1 });
});

t.test('what a listener throws ends the trace', async (t) => {
  const { tracers, socketPath, reader } = await daemon(t);
  const fault = new Error('disk full');
  let started = false;
  const ended = traceFrames(
    socketPath,
    {},
    {
      onStart: () => void (started = true),
      onRecord: () => {
        throw fault;
      },
      onTotals: () => undefined,
    },
  );
  ended.catch(() => undefined);
  await until('the trace is on', () => started);
  tracers[0]!.record(INBOUND, tracedBurst([{ frame: numbered(1) }]), 1, 0, false);
  await t.rejects(ended, fault);
  await until('the lanes are left alone', () => reader.idle);
});

t.test('a client that does not read costs bounded memory: what it missed is counted, exactly', async (t) => {
  const { tracers, socketPath, sessions, reader } = await daemon(t);
  const socket = connect({ path: socketPath });
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  socket.pause();
  socket.write('GET /trace?recordsPerSecond=10000 HTTP/1.1\r\nHost: x\r\n\r\n');
  await until('the trace is on', () => sessions.length === 1);
  const rows = Array.from({ length: 128 }, (_, i) => ({ frame: numbered(i) }));
  const burst = tracedBurst(rows);
  let offered = 0;
  // Far more than the socket and the server hold together.
  for (let turn = 0; turn < 60; turn++) {
    const before = sessions[0]!.totals().matched;
    tracers[0]!.record(INBOUND, burst, rows.length, turn * 100, false);
    offered += rows.length;
    await until('they are counted', () => sessions[0]!.totals().matched >= before + rows.length);
  }
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  socket.resume();
  const last = (): TraceTotals | undefined => {
    const line = [...text.matchAll(/\{"totals":(\{[^}]*\})\}\n/g)].at(-1)?.[1];
    return line === undefined ? undefined : (JSON.parse(line) as TraceTotals);
  };
  await until('the totals come', () => last()?.matched === offered);
  const totals = last()!;
  const records = text.split('{"record":').length - 1;
  t.ok(totals.unsent > 0, `${totals.unsent} were too many`);
  t.equal(totals.shown, records);
  t.ok(text.length < 2 * 1024 * 1024, `${text.length} bytes waited`);
  t.equal(totals.shown + totals.unsent + totals.limited + totals.overrun, offered);
  socket.destroy();
  await until('the lanes are left alone', () => reader.idle);
});
