import { getSystemErrorName } from 'node:util';

import { native } from '../native.js';

/** Sends a text to a Unix datagram socket; 0, or -errno. */
export type NotifySend = (path: string, text: string) => number;

/** The longest wait that Node's timers take, milliseconds. */
const LONGEST_TIMER_MILLIS = 2 ** 31 - 1;
/** systemd's own limit is the size of a datagram; a status is one line for people. */
const STATUS_CHARS = 200;

/**
 * Tells the service manager that started this process how it is (sd_notify(3), systemd 207). Without one every call does
 * nothing. Never throws: a daemon that forwards must not end because its status cannot be told. Main thread.
 */
export class ServiceManager {
  readonly #socket: string;
  readonly #watchdogMillis: number;
  readonly #onWarning: (message: string) => void;
  readonly #send: NotifySend;
  #watchdog: NodeJS.Timeout | undefined;
  #warned = false;

  private constructor(
    environment: Readonly<Record<string, string | undefined>>,
    onWarning: (message: string) => void,
    send: NotifySend,
  ) {
    this.#socket = environment.NOTIFY_SOCKET ?? '';
    this.#watchdogMillis = watchdogMillis(environment);
    this.#onWarning = onWarning;
    this.#send = send;
  }

  /**
   * Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
   *
   * @param onWarning called at most once: the service manager cannot be reached
   */
  static fromEnvironment(
    environment: Readonly<Record<string, string | undefined>>,
    onWarning: (message: string) => void,
    send: NotifySend = (path, text) => native.notify(path, text),
  ): ServiceManager {
    return new ServiceManager(environment, onWarning, send);
  }

  /** The daemon does its work now (READY=1): what is ordered after it may start. */
  ready(status: string): void {
    this.#notify(`READY=1\n${statusLine(status)}`);
  }

  /** One line for people, as `systemctl status` shows it. */
  status(text: string): void {
    this.#notify(statusLine(text));
  }

  /** The daemon has begun to stop (STOPPING=1). */
  stopping(): void {
    this.#notify('STOPPING=1\n');
  }

  /**
   * Tells the service manager at half of its interval that the daemon lives, as long as `healthy` says so; when it no longer
   * does, the service manager ends and restarts the daemon. Without a watchdog set up for this process nothing happens.
   */
  startWatchdog(healthy: () => boolean): void {
    if (this.#watchdogMillis === 0 || this.#watchdog !== undefined) return;
    const ping = (): void => {
      if (healthy()) this.#notify('WATCHDOG=1\n');
    };
    ping();
    this.#watchdog = setInterval(ping, Math.min(this.#watchdogMillis / 2, LONGEST_TIMER_MILLIS));
    this.#watchdog.unref();
  }

  /** Ends the watchdog's pings. May be called twice. */
  close(): void {
    clearInterval(this.#watchdog);
  }

  #notify(text: string): void {
    if (this.#socket === '') return;
    const result = this.#send(this.#socket, text);
    if (result >= 0 || this.#warned) return;
    this.#warned = true;
    const why = getSystemErrorName(result);
    this.#onWarning(
      `the service manager cannot be told of this daemon's state: NOTIFY_SOCKET ${this.#socket}: ${why}`,
    );
  }
}

/** 0 where there is no watchdog, or it is another process's, as a wrapper's that passed its environment on. */
function watchdogMillis({
  WATCHDOG_USEC = '',
  WATCHDOG_PID,
}: Readonly<Record<string, string | undefined>>): number {
  if (!/^[1-9][0-9]{0,15}$/.test(WATCHDOG_USEC)) return 0;
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(process.pid)) return 0;
  return Number(WATCHDOG_USEC) / 1000;
}

/** A line break would begin another assignment. */
function statusLine(text: string): string {
  return `STATUS=${text.replaceAll('\n', ' ').slice(0, STATUS_CHARS)}\n`;
}
