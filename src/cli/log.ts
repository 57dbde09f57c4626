import { type Logger, pino } from 'pino';

import type { RunSettings } from './run_settings.js';

export type { Logger };

/** Bytes kept of lines that could not be written yet; those behind them are lost. */
const MOST_KEPT_BYTES = 1 << 20;
/** They could end a line, or give the terminal orders; keys and names of hosts come from the store. */
const CONTROL_CHARACTERS = /[\p{Cc}\p{Zl}\p{Zp}]/gu;

/**
 * Opens the log on standard error. Written synchronously, so that the last line before an exit is not lost; the daemon
 * logs events, never frames. A log that cannot be written (disk full, reader or terminal gone) does not end the daemon.
 */
export function openLog(settings: Pick<RunSettings, 'logLevel' | 'logFormat'>): Logger {
  const pretty = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && process.stderr.isTTY);
  const options = {
    level: settings.logLevel,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(options, pretty ? openPretty() : openJson());
}

function openJson(): ReturnType<typeof pino.destination> {
  const destination = pino.destination({ fd: 2, sync: true, maxLength: MOST_KEPT_BYTES });
  destination.on('error', () => undefined);
  return destination;
}

function openPretty(): { write: (line: string) => void } {
  process.stderr.on('error', () => undefined);
  return { write: writePretty };
}

function writePretty(line: string): void {
  const { time, level, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(([name, value]) => `${name}=${formatValue(value)}`);
  process.stderr.write(
    `${escapeControls([String(time), String(level).toUpperCase().padEnd(5), String(msg), ...fields].join(' '))}\n`,
  );
}

function escapeControls(text: string): string {
  return text.replace(
    CONTROL_CHARACTERS,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function formatValue(value: unknown): string {
  return typeof value === 'string' && /^\S+$/.test(value) ? value : JSON.stringify(value);
}
