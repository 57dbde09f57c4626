import { type AgentStatus, isSegments, readDaemonStatus, readStatus, SelvageError } from '../index.js';
import { DAEMON_OPTIONS } from './daemon_options.js';
import { type Command, HELP_OPTION, out } from './command.js';
import { daemonSockets } from './each_daemon.js';
import { ExitCode } from './exit_code.js';
import { type CliValues, integerOption } from './option_table.js';
import { PEER_ORDERS, ratesOf, type TopSnapshot } from './top_rates.js';
import { TopScreen } from './top_screen.js';
import { type TopBlock, topLines, type TopView } from './top_text.js';

const MOST_INTERVAL_SECONDS = 3600;
const MOST_PICTURES = 2_147_483_647;

export const TOP_COMMAND: Command = {
  words: 'top',
  takes: [],
  summary: 'show rates, losses, lanes and peers as they change',
  about: `Shows each network of this host: health, frames and bits a second, lanes, what was lost and why, and peers with
their rates and the MTU of narrow paths. Bits are those of frames, without the outer headers.

Keys: q or Ctrl-C ends it, s sorts the peers by the rate of both directions, out, in, or their address.

Where standard output is no terminal, or with --once or --batch, it prints rates as text, each over one interval.

Examples:
  selvage top
  selvage top --segment blue --interval 5
  selvage top --once | grep -A9 lost

Exit codes: 0 ended by a key or a signal in a terminal, or all was printed; 1 no daemon; 2 the command line is wrong.`,
  options: [
    {
      name: 'interval',
      heading: 'Options',
      value: 'SECONDS',
      commandLineOnly: true,
      help: 'over which rates are taken, and after which they are shown anew',
      fallback: '1',
    },
    {
      name: 'batch',
      heading: 'Options',
      value: 'N',
      commandLineOnly: true,
      help: 'print so many times, and end',
    },
    { name: 'once', heading: 'Options', commandLineOnly: true, help: 'the same as --batch 1' },
    ...DAEMON_OPTIONS,
    HELP_OPTION,
  ],
  run: (values) => top(topQuestion(values)),
};

/** What `selvage top` was asked. */
export interface TopQuestion {
  readonly socket?: string | undefined;
  readonly segment?: string | undefined;
  readonly intervalSeconds: number;
  /** Print so many pictures; undefined for a live view. */
  readonly pictures: number | undefined;
}

/** @throws SelvageError ERR_USAGE naming the option */
export function topQuestion(values: CliValues): TopQuestion {
  const isLive = process.stdout.isTTY && process.env['TERM'] !== 'dumb';
  const batch = integerOption(values, 'batch', 1, MOST_PICTURES);
  return {
    socket: values.text('socket'),
    segment: values.text('segment'),
    intervalSeconds: integerOption(values, 'interval', 1, MOST_INTERVAL_SECONDS)!,
    pictures: batch ?? (values.isOn('once') || !isLive ? 1 : undefined),
  };
}

/**
 * `selvage top`: shows rates until it is told to end.
 *
 * @returns the exit code
 * @throws SelvageError ERR_NO_DAEMON, ERR_CONTROL_SOCKET, ERR_SEGMENT when nothing can be shown to begin with
 */
export async function top(question: TopQuestion): Promise<number> {
  const observer = new Observer(question);
  await observer.look();
  if (question.pictures !== undefined) return await printPictures(observer, question, question.pictures);
  await watch(observer, question);
  return ExitCode.ok;
}

async function printPictures(
  observer: Observer,
  { intervalSeconds }: TopQuestion,
  pictures: number,
): Promise<number> {
  const view: TopView = { columns: Infinity, rows: Infinity, order: PEER_ORDERS[0] };
  for (let i = 0; i < pictures; i++) {
    await new Promise((resolve) => setTimeout(resolve, intervalSeconds * 1000));
    await observer.look();
    out(`${i === 0 ? '' : '\n'}${topLines(observer.blocks, view).join('\n')}\n`);
  }
  return ExitCode.ok;
}

/** Shows pictures in a terminal until a key or a signal ends it. */
async function watch(observer: Observer, { intervalSeconds }: TopQuestion): Promise<void> {
  let order = 0;
  let timer: NodeJS.Timeout | undefined;
  let screen: TopScreen | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const show = (): void => {
        const { columns, rows } = screen!;
        screen!.show(topLines(observer.blocks, { columns, rows, order: PEER_ORDERS[order]! }));
      };
      screen = new TopScreen({
        onQuit: resolve,
        onResize: show,
        onKey: (key) => {
          if (key === 's') order = (order + 1) % PEER_ORDERS.length;
          show();
        },
      });
      show();
      timer = setInterval(() => {
        void observer.tryToLook().then(show, reject);
      }, intervalSeconds * 1000);
    });
  } finally {
    clearInterval(timer);
    screen?.close();
  }
}

/** Asks the daemons, and remembers what they said last. */
class Observer {
  readonly #question: TopQuestion;
  /** What was shown last, by name. */
  #last = new Map<string, TopSnapshot>();
  #blocks: readonly TopBlock[] = [];
  #isLooking = false;

  constructor(question: TopQuestion) {
    this.#question = question;
  }

  /** As of the last look. */
  get blocks(): readonly TopBlock[] {
    return this.#blocks;
  }

  /** @throws SelvageError when there is nothing to show */
  async look(): Promise<void> {
    const { snapshots, failures } = await this.#ask();
    if (snapshots.length === 0 && failures[0] !== undefined) throw failures[0].error;
    this.#keep(snapshots, failures);
  }

  /** The same; that there is nothing to show is shown. While an earlier one waits for an answer it does nothing. */
  async tryToLook(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const { snapshots, failures } = await this.#ask();
      this.#keep(snapshots, failures);
    } finally {
      this.#isLooking = false;
    }
  }

  #keep(snapshots: readonly TopSnapshot[], failures: readonly TopFailure[]): void {
    this.#blocks = [
      ...snapshots.map((snapshot): TopBlock => {
        const rates = ratesOf(this.#last.get(snapshot.name), snapshot);
        return { kind: 'rates', rates };
      }),
      ...failures.map(({ name, error }): TopBlock => ({ kind: 'failure', name, message: error.message })),
    ];
    this.#last = new Map(snapshots.map((snapshot) => [snapshot.name, snapshot]));
  }

  async #ask(): Promise<{ snapshots: TopSnapshot[]; failures: TopFailure[] }> {
    const failures: TopFailure[] = [];
    const failed = (name: string, error: unknown): [] => {
      if (!(error instanceof SelvageError)) throw error;
      failures.push({ name, error });
      return [];
    };
    const sockets = await daemonSockets(this.#question).catch((error: unknown) => failed('selvage', error));
    const snapshots: TopSnapshot[] = [];
    for (const path of sockets) {
      snapshots.push(...(await this.#askOne(path).catch((error: unknown) => failed(path, error))));
    }
    // That a daemon has no such segment is no failure while another has it.
    const told = failures.filter(({ error }) => snapshots.length === 0 || error.code !== 'ERR_SEGMENT');
    return { snapshots, failures: told };
  }

  async #askOne(path: string): Promise<TopSnapshot[]> {
    const { segment } = this.#question;
    const snapshot = (name: string, status: AgentStatus): TopSnapshot => ({
      name,
      atMillis: performance.now(),
      status,
    });
    if (segment !== undefined) return [snapshot(`${path} ${segment}`, await readStatus(path, segment))];
    const daemon = await readDaemonStatus(path);
    if (!isSegments(daemon)) return [snapshot(path, daemon)];
    return daemon.segments.map(({ name, status }) => snapshot(`${path} ${name}`, status));
  }
}

interface TopFailure {
  readonly name: string;
  readonly error: SelvageError;
}
