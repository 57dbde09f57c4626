import {
  SelvageError,
  traceFrames,
  type TraceOptions,
  type TraceRecord,
  type TraceTotals,
} from '../index.js';
import type { Command } from './command.js';
import { daemonSockets } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { TRACE_OPTIONS, type TraceQuestion, traceQuestion } from './trace_options.js';
import { lineSink, pcapSink, type TraceSink } from './trace_sink.js';
import { summaryText, type TraceSummary } from './trace_text.js';

export const TRACE_COMMAND: Command = {
  words: 'trace',
  takes: [],
  summary: 'show frames as they are forwarded or dropped, and why',
  about: `Shows frames with their time, lane, direction, inner addresses and ports, size, and where they went or why they
ended here. A superframe is one line: 1448 x44 is 44 frames of 1448 bytes. Each lane looks for frames that the
filters let through, and copies at most --rate of them a second, so a trace does not slow it. The last line, on
standard error, says how many matched and were not shown.

Examples:
  selvage trace --drops
  selvage trace --host 10.1.2.2 --proto tcp --port 443 --count 20
  selvage trace --reason spoofedSource --pcap spoofed.pcapng
  selvage trace --pcap - | wireshark -k -i -

A capture holds the first 120 bytes of each frame, as sent when it went on (so with the TTL decremented), its
length, and as comment what became of it. Times are right to a tick of the kernel's coarse clock (1 to 10 ms).
Checksums of frames that the kernel left to the device are not filled in. Ctrl-C ends the trace.

Exit codes: 0 ended by --count, --seconds or a signal; 1 no daemon, it ended the trace, or the file cannot be
written; 2 the command line is wrong.`,
  options: TRACE_OPTIONS,
  run: (values) => trace(traceQuestion(values), (output) => void process.stdout.write(output)),
};

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * `selvage trace`: shows frames of one daemon, or of each on this host, until it is told to end.
 *
 * @param print takes what belongs on standard output
 * @returns the exit code: 1 when one of several daemons could not be traced
 * @throws SelvageError ERR_NO_DAEMON, ERR_CONTROL_SOCKET, ERR_TRACE_*; the capture is complete all the same
 */
export async function trace(
  question: TraceQuestion,
  print: (output: string | Uint8Array) => void,
): Promise<number> {
  const sockets = await daemonSockets(question);
  const several = sockets.length > 1;
  const { pcap, json } = question;
  const sink = pcap === undefined ? lineSink(json, several, print) : pcapSink(pcap, print);
  const end = new TraceEnd(question.seconds);
  const count = new FrameCount(question.count, () => end.now());
  try {
    const traces = sockets.map((path) => traceOne(path, question.options, several, sink, count, end));
    const failures = (await Promise.all(traces)).filter((failure) => failure !== undefined);
    tell(summaryText(count.summary()));
    if (failures.length === sockets.length) throw failures[0]!;
    return failures.length > 0 ? ExitCode.failed : ExitCode.ok;
  } finally {
    end.close();
    sink.close();
  }
}

/** @returns why it ended before it should */
async function traceOne(
  path: string,
  options: TraceOptions,
  several: boolean,
  sink: TraceSink,
  count: FrameCount,
  end: TraceEnd,
): Promise<SelvageError | undefined> {
  let show: (record: TraceRecord) => void = () => undefined;
  try {
    const listener = {
      onStart: ({ device, lanes }: { device: string; lanes: number }) => {
        show = sink.begin(device);
        tell(`tracing ${device} (${lanes} ${lanes === 1 ? 'lane' : 'lanes'})`);
      },
      onRecord: (record: TraceRecord) => {
        if (count.take(path)) show(record);
      },
      onTotals: (totals: TraceTotals) => count.settle(path, totals),
    };
    await traceFrames(path, options, listener, end.signal);
    return undefined;
  } catch (error) {
    if (!(error instanceof SelvageError)) throw error;
    if (error.code === 'ERR_TRACE_FILE') end.now(); // it is the file of all
    if (several) tell(error.message); // while the others go on
    return error;
  }
}

/** Standard output may be a capture. */
function tell(text: string): void {
  process.stderr.write(`selvage: ${text}\n`);
}

/** When a trace ends: after its time, by a signal, or when nobody reads what it prints. */
class TraceEnd {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #stop = (): void => this.now();

  constructor(seconds: number | undefined) {
    if (seconds !== undefined) this.#timer = setTimeout(this.#stop, seconds * 1000);
    for (const signal of STOP_SIGNALS) process.once(signal, this.#stop); // a second one ends the process
    process.stdout.once('error', this.#stop);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  now(): void {
    this.#controller.abort();
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const signal of STOP_SIGNALS) process.off(signal, this.#stop);
    process.stdout.off('error', this.#stop);
  }
}

/** Counts what was shown, and what the daemons say of the rest. */
class FrameCount {
  readonly #most: number;
  readonly #onEnough: () => void;
  /** By socket: the last totals, and frames that came since. */
  readonly #totals = new Map<string, TraceTotals>();
  readonly #since = new Map<string, number>();
  #shown = 0;

  constructor(most = Infinity, onEnough: () => void) {
    this.#most = most;
    this.#onEnough = onEnough;
  }

  /** @returns whether the frame is to be shown */
  take(socket: string): boolean {
    this.#since.set(socket, (this.#since.get(socket) ?? 0) + 1);
    if (this.#shown === this.#most) return false;
    this.#shown++;
    return true;
  }

  /** Not before the totals that follow the last frame: they are of the same moment. */
  settle(socket: string, totals: TraceTotals): void {
    this.#totals.set(socket, totals);
    this.#since.set(socket, 0);
    if (this.#shown === this.#most) this.#onEnough();
  }

  summary(): TraceSummary {
    const all = [...this.#totals.values()];
    const sum = (field: keyof TraceTotals): number => all.reduce((total, totals) => total + totals[field], 0);
    const since = [...this.#since.values()].reduce((total, frames) => total + frames, 0);
    return {
      matched: sum('matched') + since,
      shown: this.#shown,
      limited: sum('limited'),
      overrun: sum('overrun'),
      unsent: sum('unsent'),
    };
  }
}
