import { CONTROL_DIRECTORY, listControlSockets, SelvageError } from '../index.js';
import { ExitCode } from './exit_code.js';

/** What `selvage status` and `selvage routes` were asked. */
export interface ShowOptions {
  /** Control socket of one daemon; all in {@link CONTROL_DIRECTORY} without it. */
  readonly socket?: string | undefined;
  /** The one network of a daemon with segments; all without it. */
  readonly segment?: string | undefined;
  /** One JSON document a line for each daemon, in place of a table. */
  readonly json: boolean;
}

/**
 * Shows one thing about one daemon or about each. With several, those that answer are shown, and the failures after them;
 * that a daemon has no such segment is none while another has it.
 *
 * @param show prints what the daemon behind a socket says, and returns the exit code that it deserves
 * @param directory where the sockets are
 * @returns the highest of the exit codes
 * @throws SelvageError when there is no daemon, or the one asked for, or each of them, does not answer
 */
export async function showEachDaemon(
  { socket, segment }: Pick<ShowOptions, 'socket' | 'segment'>,
  show: (socketPath: string, several: boolean) => Promise<number>,
  directory = CONTROL_DIRECTORY,
): Promise<number> {
  const sockets = await daemonSockets({ socket }, directory);
  let exitCode: number = ExitCode.ok;
  const failures: SelvageError[] = [];
  let shown = false;
  for (const path of sockets) {
    try {
      exitCode = Math.max(exitCode, await show(path, sockets.length > 1));
      shown = true;
    } catch (error) {
      if (!(error instanceof SelvageError)) throw error;
      failures.push(error);
    }
  }
  const isTold = ({ code }: SelvageError): boolean =>
    segment === undefined || !shown || code !== 'ERR_SEGMENT';
  const told = failures.filter(isTold);
  const [first] = told;
  if (first === undefined) return exitCode;
  throw new SelvageError(first.code, told.map(({ message }) => message).join('; '), { cause: first });
}

/**
 * The control sockets to ask.
 *
 * @returns at least one
 * @throws SelvageError ERR_NO_DAEMON when none is named and there is none
 */
export async function daemonSockets(
  { socket }: Pick<ShowOptions, 'socket'>,
  directory = CONTROL_DIRECTORY,
): Promise<string[]> {
  if (socket !== undefined) return [socket];
  const sockets = await listControlSockets(directory);
  if (sockets.length > 0) return sockets;
  throw new SelvageError(
    'ERR_NO_DAEMON',
    `no selvage runs here (no socket in ${directory}); start it with 'selvage run', or name its socket with --socket`,
  );
}
