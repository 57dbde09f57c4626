import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { tail, type Child, type CommandResult } from './child.js';
import type { Namespace } from './namespace.js';
import { until } from './until.js';

/** The system's own: a version manager's `python3` earlier on PATH takes half a second to start. */
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';
const TOOLS = new URL('../../../test/netns/tools/', import.meta.url);

/**
 * Starts one of tools/*.py in a namespace. They are Python because Node has no raw sockets, packet sockets nor
 * UDP_SEGMENT; node-gyp needs Python, so it is there.
 *
 * @param name without `.py`; what it takes is written at the top of the file
 */
export function startTool(where: Namespace, name: string, ...args: readonly (string | number)[]): Child {
  const file = fileURLToPath(new URL(`${name}.py`, TOOLS));
  return where.spawn(PYTHON, [file, ...args.map(String)], { env: { PYTHONDONTWRITEBYTECODE: '1' } });
}

/** Runs a few lines of Python in a namespace; resolves with what they print, also when they fail. */
export async function runPython(where: Namespace, code: string): Promise<CommandResult> {
  return where.exec(PYTHON, ['-c', code], { mayFail: true });
}

/** Starts a tool and waits until it has said a line, such as `listening`. */
export async function startToolUntil(
  line: string,
  where: Namespace,
  name: string,
  ...args: readonly (string | number)[]
): Promise<Child> {
  const child = startTool(where, name, ...args);
  await until(`${child.title} to say '${line}'`, () => {
    if (!child.running) throw new Error(`${child.title}: ended\n${tail(child.stderr)}`);
    return child.stdout.split('\n').includes(line);
  });
  return child;
}

/**
 * Waits for a tool's end and reads the JSON it prints last.
 *
 * @throws Error with its output when it fails or takes longer than `seconds`
 */
export async function reportOf<T>(child: Child, seconds = 60): Promise<T> {
  const { code, stdout, stderr } = await child.result(seconds);
  if (code !== 0) throw new Error(`${child.title}: exit code ${code}\n${tail(stderr)}`);
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as T;
}
