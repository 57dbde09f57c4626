import type { MessagePort } from 'node:worker_threads';

import { TokenBucket } from '../encap/token_bucket.js';
import { invariant, SelvageError } from '../errors.js';
import { BURST, burstColumns, native, READY, REPORT, REPORT_WORDS } from '../native.js';
import type { RouteTable } from '../routing/route_table.js';
import { ADDRESS_WORDS } from '../ip_address.js';
import { ENDPOINT_WORDS } from '../routing/route_table.js';
import { createBurst } from '../tun/create_burst.js';
import { finishAnswers } from './answer.js';
import { AnswerBurst } from './answer_burst.js';
import { ControlWords } from './control_words.js';
import { INBOUND, LaneCounters, OUTBOUND } from './counters.js';
import { countInboundWritten, decideInbound } from './inbound.js';
import { LaneContext } from './lane_context.js';
import type { LaneTask } from './lane_task.js';
import { countOutboundSent, decideOutbound } from './outbound.js';
import { PathTable } from './path_table.js';
import { SuspectNote } from './suspect_note.js';
import { takeTable } from './table_mailbox.js';
import { Tracer } from './tracer.js';

/** Bursts in each direction before the control words are read and the other direction has its turn. */
const BURSTS_PER_TURN = 4;
/** Frames read from TUN in one burst: enough for two full trains of small frames. */
const OUTBOUND_ROWS = 128;
/** Room for at least three superframes of 64 KiB a burst. More leaves the second-level cache before it is sent. */
const OUTBOUND_SLAB_BYTES = 4 * 65_536;
/** The wake signal ends a sleep; this only bounds the damage should a signal be missed. */
const SLEEP_MILLIS = 1000;
/** A full socket buffer empties at line rate; after this long the underlay is stuck and waiting only adds delay. */
const SEND_WAIT_MILLIS = 10;
const SEND_WAITS = 2;

/** ICMP errors: as Linux's own icmp_msgs_per_sec and icmp_msgs_burst, by lane (ip-sysctl, RFC 1812 section 4.3.2.8). */
const ANSWERS_PER_SECOND = 1000;
const ANSWERS_AT_ONCE = 50;

/** What {@link native.tunRecv} returns once the TUN device was deleted: EBADFD, which Node does not name. */
const FILE_STATE_BAD = -77;

/**
 * One lane: a TUN queue, a UDP socket and the loop that carries frames between them, on a worker thread of its own.
 *
 * The loop is synchronous and allocates nothing. A turn is: sleep until something is ready; read the control words; a few
 * bursts in each direction. So neither direction, nor the control plane, can starve the others.
 */
export class Lane {
  readonly #task: LaneTask;
  readonly #control: ControlWords;
  readonly #tables: MessagePort;
  readonly #outbound = createBurst({ rows: OUTBOUND_ROWS, slabBytes: OUTBOUND_SLAB_BYTES });
  readonly #inbound = createBurst({
    rows: native.layout.inboundRows,
    slabBytes: native.layout.inboundSlabBytes,
  });
  readonly #answers = new AnswerBurst();
  readonly #report = new Int32Array(new SharedArrayBuffer(REPORT_WORDS * Int32Array.BYTES_PER_ELEMENT));
  readonly #handle: number;
  readonly #context: LaneContext;
  readonly #tracer: Tracer;

  /** Attaches the lane's memory. Pairs with {@link Lane.detach}. */
  constructor(task: LaneTask) {
    this.#task = task;
    this.#control = new ControlWords(task.control);
    this.#tables = task.tables;
    this.#tracer = new Tracer(task.trace);
    this.#handle = native.attachLane(
      task.tunFd,
      task.udpFd,
      task.wakeFd,
      [burstColumns(this.#outbound), burstColumns(this.#inbound), burstColumns(this.#answers.burst)],
      this.#report,
      task.coalesceKinds,
      task.gso,
    );
    this.#context = new LaneContext({
      table: this.#firstTable(),
      mtuBytes: this.#control.mtuBytes,
      tunAddress: task.tunAddress,
      tunAddressIpv6: task.tunAddressIpv6,
      sourceCheck: task.sourceCheck,
      copyClass: task.copyClass,
      echoIdentifier: task.echoIdentifier,
      counters: new LaneCounters(task.counters, task.maxPeers),
      answers: this.#answers,
      limiter: new TokenBucket(ANSWERS_PER_SECOND, ANSWERS_AT_ONCE),
      paths: new PathTable(task.paths),
      suspects: new SuspectNote(task.suspects),
      askPathMtu: (nextHop) => this.#askPathMtu(nextHop),
    });
  }

  /** Forwards until the control words say stop. @throws SelvageError ERR_TUN_GONE or ERR_LANE_IO */
  run(): void {
    const control = this.#control;
    const handle = this.#handle;
    const context = this.#context;
    const report = this.#report;
    control.observe(this.#task.lane, context.table.generation);
    while (!control.stopping) {
      const ready = native.poll(handle, SLEEP_MILLIS);
      if (ready < 0) throw ioError('poll', ready);
      if (control.generation !== context.table.generation) this.#observeTable();
      context.mtuBytes = control.mtuBytes;
      context.nowMillis = report[REPORT.nowMillis]!;
      // A burst of several frames says that more are coming: looking again costs less than a poll.
      if ((ready & READY.tun) !== 0) {
        for (let i = 0; i < BURSTS_PER_TURN && this.#outboundBurst() > 1; i++);
      }
      if ((ready & READY.udp) !== 0) {
        for (let i = 0; i < BURSTS_PER_TURN && this.#inboundBurst() > 1; i++);
      }
    }
  }

  /** Gives the memory back. */
  detach(): void {
    native.detachLane(this.#handle);
  }

  /** @returns frames read from TUN */
  #outboundBurst(): number {
    const burst = this.#outbound;
    const count = native.tunRecv(this.#handle, OUTBOUND_ROWS);
    if (count <= 0) {
      if (count === FILE_STATE_BAD) throw tunGone();
      if (count < 0) throw ioError('TUN read', count);
      return 0;
    }
    decideOutbound(burst, count, this.#context);
    this.#sendUdp(BURST.outbound, count);
    const hadLoss = this.#report[REPORT.lossRows] !== 0;
    countOutboundSent(burst, count, this.#context, hadLoss);
    if (this.#tracer.enabled) this.#tracer.record(OUTBOUND, burst, count, this.#context.nowMillis, hadLoss);
    const answers = this.#answers.count;
    if (answers > 0) {
      const answersLost = native.tunSend(this.#handle, BURST.answers, answers);
      finishAnswers(this.#context, OUTBOUND, answersLost !== 0);
    }
    return count;
  }

  /** @returns frames received, superframes counted once */
  #inboundBurst(): number {
    const burst = this.#inbound;
    const count = native.udpRecv(this.#handle);
    if (count <= 0) {
      if (count < 0) throw ioError('UDP receive', count);
      return 0;
    }
    decideInbound(burst, count, this.#context);
    const lossRows = native.tunSend(this.#handle, BURST.inbound, count);
    countInboundWritten(burst, count, this.#context, lossRows !== 0);
    if (this.#tracer.enabled)
      this.#tracer.record(INBOUND, burst, count, this.#context.nowMillis, lossRows !== 0);
    const answers = this.#answers.count;
    if (answers > 0) {
      this.#sendUdp(BURST.answers, answers);
      finishAnswers(this.#context, INBOUND, this.#report[REPORT.lossRows] !== 0);
    }
    return count;
  }

  /** Sends to the underlay; waits a little where the socket buffer is full, as dropping would cost TCP more. */
  #sendUdp(burst: number, count: number): void {
    let refused = native.udpSend(this.#handle, burst, count);
    if (this.#report[REPORT.gso] === 0) this.#control.reportNoGso(this.#task.lane);
    for (let waits = 0; refused > 0; waits++) {
      if (waits === SEND_WAITS) {
        native.udpAbandon(this.#handle);
        return;
      }
      native.waitWritable(this.#handle, SEND_WAIT_MILLIS);
      refused = native.udpResume(this.#handle);
    }
  }

  /** Seldom: once for a next hop whose path turned out to be narrower than thought. */
  #askPathMtu(nextHop: number): number {
    const at = nextHop * ENDPOINT_WORDS;
    const address = this.#context.table.endpoints.subarray(at, at + ADDRESS_WORDS);
    return Math.max(0, native.udpPathMtu(this.#task.udpFd, address) - this.#task.overheadBytes);
  }

  /** The table that the supervisor posted before it started this lane. */
  #firstTable(): RouteTable {
    const table = takeTable(this.#tables);
    invariant(table !== undefined, 'a lane was started without a route table');
    native.setEndpoints(this.#handle, table.endpoints);
    return table;
  }

  #observeTable(): void {
    const table = takeTable(this.#tables);
    if (table === undefined) return; // this lane was started with a table whose announcement is still to come
    native.setEndpoints(this.#handle, table.endpoints);
    this.#context.table = table;
    this.#control.observe(this.#task.lane, table.generation);
  }
}

function tunGone(): SelvageError {
  return new SelvageError(
    'ERR_TUN_GONE',
    'the TUN device was deleted while it was in use: start selvage again',
  );
}

function ioError(what: string, result: number): SelvageError {
  return new SelvageError('ERR_LANE_IO', `${what} failed with errno ${-result}`);
}
