import { spawn } from 'node:child_process';

import { SelvageError } from '../errors.js';

/** Commands that configure a host answer within milliseconds; one that hangs must not hang the daemon. */
const TIMEOUT_MILLIS = 10_000;

/**
 * Runs a program and gives its standard output.
 *
 * @param options.input text for its standard input, which is a socket: a program that opens /dev/stdin anew, as nft does, cannot
 * @param options.title what a message calls it; without it the command with all its arguments
 * @throws SelvageError ERR_COMMAND_MISSING (with the package to install) or ERR_COMMAND_FAILED (with what it said)
 */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { input?: string; title?: string; debianPackage: string },
): Promise<string> {
  const { title = `${command} ${args.join(' ')}` } = options;
  return new Promise((resolve, reject) => {
    // In English: callers tell "File exists" from other complaints.
    const env = { ...process.env, LC_ALL: 'C' };
    const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    // Not spawn's own `timeout`: when the command is missing, that one goes on and keeps the process alive (Node 20).
    const timer = setTimeout(() => child.kill('SIGTERM'), TIMEOUT_MILLIS);
    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    child.on('error', (cause: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const missing = cause.code === 'ENOENT';
      reject(
        missing
          ? new SelvageError(
              'ERR_COMMAND_MISSING',
              `the command '${command}' is not installed: apt-get install ${options.debianPackage}`,
              { cause },
            )
          : new SelvageError('ERR_COMMAND_FAILED', `${command}: ${cause.message}`, { cause }),
      );
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) {
        resolve(output);
        return;
      }
      const said = complaint.trim().split('\n')[0] ?? '';
      const how = signal === null ? `exit code ${code}` : `ended by ${signal}`;
      reject(new SelvageError('ERR_COMMAND_FAILED', `${title}: ${said || how}`));
    });
    child.stdin.on('error', () => undefined); // the child may end before it read all; its exit code says why
    child.stdin.end(options.input ?? '');
  });
}
