import { readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Child } from './child.js';

/** Removes what labs of dead processes left, see `Lab.sweep`. */
export async function sweepLabs(): Promise<string[]> {
  const namespaces = entries('/run/netns').filter(isAbandoned);
  for (const name of namespaces) {
    await killInside(name);
    await new Child(['ip', 'netns', 'del', name]).exited;
  }
  const directories = entries(tmpdir()).filter(isAbandoned).filter(removeDirectory);
  return [...namespaces, ...directories];
}

function removeDirectory(name: string): boolean {
  try {
    rmSync(join(tmpdir(), name), { recursive: true });
    return true;
  } catch {
    return false; // another user's: left to a lab of theirs
  }
}

/** Names in a directory; none when it does not exist, as /run/netns before the first `ip netns add`. */
function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function isAbandoned(name: string): boolean {
  const creator = /^selvage-(\d+)-\d+-/.exec(name)?.[1];
  return creator !== undefined && !isAlive(Number(creator));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A process inside would keep the namespace, though nameless, in being. */
async function killInside(name: string): Promise<void> {
  const { stdout } = await new Child(['ip', 'netns', 'pids', name]).result(20);
  for (const pid of stdout.trim().split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // it has gone meanwhile
    }
  }
}
