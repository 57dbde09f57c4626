import { type Logger, pino } from 'pino';

import type { RunSettings } from './run_settings.js';

export type { Logger };

/**
 * Opens the log on standard error. Written synchronously, so that the last line before an exit is not lost; the daemon
 * logs events, never frames.
 */
export function openLog(settings: Pick<RunSettings, 'logLevel' | 'logFormat'>): Logger {
  const pretty = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && process.stderr.isTTY);
  const options = {
    level: settings.logLevel,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(options, pretty ? { write: writePretty } : pino.destination({ fd: 2, sync: true }));
}

function writePretty(line: string): void {
  const { time, level, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(([name, value]) => `${name}=${formatValue(value)}`);
  process.stderr.write(
    `${[String(time), String(level).toUpperCase().padEnd(5), String(msg), ...fields].join(' ')}\n`,
  );
}

function formatValue(value: unknown): string {
  return typeof value === 'string' && /^\S+$/.test(value) ? value : JSON.stringify(value);
}
