/** What must be undone before this process may end. */
export interface Closable {
  close(): Promise<void>;
  /** The same without waiting, for a process 'exit' listener. */
  closeNow(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const open = new Set<Closable>();
let ending = false;

/** From now on `item` is closed when this process ends: by a signal, an uncaught error or process.exit(). */
export function registerOpen(item: Closable): void {
  if (open.size === 0) {
    for (const signal of SIGNALS) process.on(signal, endBySignal);
    process.on('exit', closeAllNow);
  }
  open.add(item);
}

/** `item` has been closed. */
export function unregisterOpen(item: Closable): void {
  open.delete(item);
  if (open.size > 0 || ending) return;
  for (const signal of SIGNALS) process.off(signal, endBySignal);
  process.off('exit', closeAllNow);
}

/** Whether a signal is ending this process: what fails now fails because labs close under it. */
export function endedBySignal(): boolean {
  return ending;
}

/** Closes everything, then dies of the same signal, so that whoever waits for this process sees the true reason. */
function endBySignal(signal: NodeJS.Signals): void {
  if (ending) return; // a terminal and a parent may both pass on one Ctrl-C
  ending = true;
  process.on('uncaughtException', () => {}); // see endedBySignal: a stack trace now would hide the true reason
  void Promise.allSettled([...open].map((item) => item.close())).then(() => {
    process.off('exit', closeAllNow);
    for (const name of SIGNALS) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}

function closeAllNow(): void {
  for (const item of open) item.closeNow();
}
