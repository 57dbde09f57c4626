import { readdirSync } from 'node:fs';

import { Child } from './child.js';

/** Removes what labs of dead processes left, see `Lab.sweep`. */
export async function sweepLabs(): Promise<string[]> {
  const left = namespaces().filter((name) => {
    const creator = /^selvage-(\d+)-\d+-/.exec(name)?.[1];
    return creator !== undefined && !isAlive(Number(creator));
  });
  for (const name of left) {
    await killInside(name);
    await new Child(['ip', 'netns', 'del', name]).exited;
  }
  return left;
}

function namespaces(): string[] {
  try {
    return readdirSync('/run/netns');
  } catch {
    return []; // made by the first `ip netns add`
  }
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
