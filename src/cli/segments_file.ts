import { readFile } from 'node:fs/promises';

import { checkSegmentName, findJsonFault, nearName, SelvageError } from '../index.js';
import { ETCD_OPTIONS } from './etcd_options.js';
import { type CliOption, type CliValues, type GivenOption } from './option_table.js';
import { PROCESS_OPTIONS, RUN_OPTIONS } from './run_options.js';
import { type RunSettings, runSettings } from './run_settings.js';

/** One network of the file, with the command line's options where it says nothing. */
export interface SegmentSettings {
  readonly name: string;
  readonly settings: RunSettings;
}

/** A segments file that cannot be used. */
export class SegmentsFileError extends SelvageError {
  /** Every problem, one sentence each, e.g. `segments[1]: unknown key "prot"; did you mean "port"?` */
  readonly problems: readonly string[];

  constructor(path: string, problems: readonly string[]) {
    super('ERR_SEGMENTS_FILE', `${path}: ${summary(problems)}`);
    this.problems = problems;
  }
}

/** Far above what a thousand segments need. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Problems that the one-line message spells out; `problems` has them all. */
const PROBLEMS_IN_MESSAGE = 20;
/** Characters of a wrong value that a problem repeats. */
const QUOTED_CHARS = 60;
const MAX_DEVICE_NAME = 15;
const EXAMPLE = 'an object like {"segments": [{"name": "blue", "etcd-prefix": "/blue/network"}]}';

/** Options that a segment may set: those that are not about the whole process, and that have an effect. */
const SEGMENT_OPTIONS = RUN_OPTIONS.filter(
  ({ name, heading, commandLineOnly }) =>
    !commandLineOnly && !PROCESS_OPTIONS.includes(name) && !heading?.includes('without effect'),
);
const KEYS = ['name', ...SEGMENT_OPTIONS.map(({ name }) => name)];
const ETCD_KEYS = ETCD_OPTIONS.map(({ name }) => name);

/** @throws SegmentsFileError (code ERR_SEGMENTS_FILE) with every problem found */
export async function readSegmentsFile(path: string, defaults: CliValues): Promise<SegmentSettings[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new SegmentsFileError(path, [`cannot be read: ${(error as Error).message}`]);
  }
  return parseSegmentsFile(text, defaults, path);
}

/**
 * Reads the text of a segments file.
 *
 * @param defaults the command line, for what a segment does not set itself
 * @param path for messages
 * @throws SegmentsFileError (code ERR_SEGMENTS_FILE) with every problem found; for text that is not JSON, the first fault with
 *   its line and column
 */
export function parseSegmentsFile(text: string, defaults: CliValues, path: string): SegmentSettings[] {
  if (text.length > MAX_FILE_BYTES)
    throw new SegmentsFileError(path, [`longer than ${MAX_FILE_BYTES} bytes`]);
  const problems: string[] = [];
  const found = listOf(parseJson(text, path), problems).map((entry, at) =>
    readSegment(entry, `segments[${at}]`, defaults, problems),
  );
  if (problems.length > 0) throw new SegmentsFileError(path, problems);
  return found.filter((segment) => segment !== undefined);
}

function parseJson(text: string, path: string): unknown {
  const json = text.startsWith('\ufeff') ? text.slice(1) : text; // RFC 8259 section 8.1 lets a parser ignore the mark
  try {
    return JSON.parse(json);
  } catch (error) {
    const fault = findJsonFault(json);
    const where = fault && `at line ${fault.line}, column ${fault.column}: ${fault.reason}`;
    throw new SegmentsFileError(path, [`not valid JSON ${where ?? (error as Error).message}`]);
  }
}

function listOf(value: unknown, problems: string[]): readonly unknown[] {
  if (!isObject(value)) {
    problems.push(`${describe(value)} is not ${EXAMPLE}`);
    return [];
  }
  for (const key of Object.keys(value)) {
    if (key !== 'segments') problems.push(unknownKey(key, '', ['segments']));
  }
  const { segments } = value;
  if (Array.isArray(segments) && segments.length > 0) return segments;
  const what = segments === undefined ? 'is missing: expected' : `${describe(segments)} is not`;
  problems.push(`segments${segments === undefined ? ' ' : ': '}${what} an array of at least one segment`);
  return [];
}

/** @returns undefined when it has problems, which are added to the list */
function readSegment(
  entry: unknown,
  where: string,
  defaults: CliValues,
  problems: string[],
): SegmentSettings | undefined {
  const before = problems.length;
  if (!isObject(entry)) {
    problems.push(
      `${where}: ${describe(entry)} is not an object like {"name": "blue", "etcd-prefix": "/blue/network"}`,
    );
    return undefined;
  }
  const name = nameOf(entry['name'], where, problems);
  const given = new Map<string, GivenOption>();
  for (const [key, value] of Object.entries(entry)) {
    if (key === 'name') continue;
    const option = SEGMENT_OPTIONS.find((each) => each.name === key);
    if (option === undefined) problems.push(refusedKey(key, where));
    else readOption(option, value, `${where}.${key}`, given, problems);
  }
  if (name === undefined || problems.length > before) return undefined;
  return settingsOf(name, given, where, defaults, problems);
}

function settingsOf(
  name: string,
  given: Map<string, GivenOption>,
  where: string,
  defaults: CliValues,
  problems: string[],
): SegmentSettings | undefined {
  try {
    addOwnNames(name, given, where, defaults);
    return { name, settings: runSettings(defaults.with(given, defaultsLeftOut(given))) };
  } catch (error) {
    if (!(error instanceof SelvageError)) throw error;
    const { message } = error;
    problems.push(message.startsWith(where) ? message : `${where}: ${message}`);
    return undefined;
  }
}

/** Where neither the segment nor the command line says, names after the segment keep it apart from the others. */
function addOwnNames(
  name: string,
  given: Map<string, GivenOption>,
  where: string,
  defaults: CliValues,
): void {
  const add = (option: string, text: string): void => {
    if (given.has(option) || defaults.isGiven(option)) return;
    given.set(option, { label: `${where}.${option}`, texts: [text] });
  };
  const device = `flannel-${name}`;
  if (device.length <= MAX_DEVICE_NAME) add('tun', device);
  else if (!given.has('tun') && !defaults.isGiven('tun')) {
    throw new SelvageError(
      'ERR_SEGMENTS_FILE',
      `"${device}" would be too long for a device: give "tun" with 1 to ${MAX_DEVICE_NAME} characters`,
    );
  }
  // With a routes file none is written unless it was asked for.
  if (!isOfFile(given, defaults)) add('subnet-file', `/run/flannel/${name}.env`);
}

function isOfFile(given: ReadonlyMap<string, GivenOption>, defaults: CliValues): boolean {
  if (given.has('routes')) return true;
  return defaults.isGiven('routes') && !ETCD_KEYS.some((key) => given.has(key));
}

/** A segment's own source stands in place of that of the command line. */
function defaultsLeftOut(given: ReadonlyMap<string, GivenOption>): readonly string[] {
  if (given.has('routes')) return [...ETCD_KEYS, 'subnet-lease-renew-margin'];
  return ETCD_KEYS.some((key) => given.has(key)) ? ['routes'] : [];
}

function nameOf(value: unknown, where: string, problems: string[]): string | undefined {
  if (typeof value !== 'string') {
    const what = value === undefined ? ' is missing: expected' : `: ${describe(value)} is not`;
    problems.push(`${where}.name${what} a name like "blue"`);
    return undefined;
  }
  try {
    checkSegmentName(value);
    return value;
  } catch (error) {
    problems.push(`${where}.name: ${(error as Error).message}`);
    return undefined;
  }
}

function readOption(
  option: CliOption,
  value: unknown,
  label: string,
  given: Map<string, GivenOption>,
  problems: string[],
): void {
  const texts = textsOf(option, value);
  if (texts === undefined) problems.push(`${label}: ${describe(value)} is not ${expectedOf(option)}`);
  else given.set(option.name, { label, texts });
}

/** The value as the command line would have it; undefined for one of the wrong kind. */
function textsOf(option: CliOption, value: unknown): readonly string[] | undefined {
  if (option.value === undefined) return typeof value === 'boolean' ? [String(value)] : undefined;
  if (option.repeatable && Array.isArray(value)) {
    const list = value as unknown[];
    return list.length > 0 && list.every(isText) ? list : undefined;
  }
  if (typeof value === 'number') return [String(value)];
  return isText(value) ? [value] : undefined;
}

function expectedOf(option: CliOption): string {
  if (option.value === undefined) return 'true or false';
  return option.repeatable
    ? `a text, or an array of them: ${option.value}`
    : `a text or number: ${option.value}`;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function refusedKey(key: string, where: string): string {
  if (key === 'exit-on-lease-loss') {
    return `${where}: "${key}" is not for segments: one network must not end the others; leave it out`;
  }
  if (PROCESS_OPTIONS.includes(key)) {
    return `${where}: "${key}" is about the whole process: say --${key} on the command line`;
  }
  return unknownKey(key, where, KEYS);
}

function unknownKey(key: string, where: string, known: readonly string[]): string {
  const near = nearName(key, known);
  const hint = near === undefined ? `known keys are ${known.join(', ')}` : `did you mean "${near}"?`;
  return `${where === '' ? '' : `${where}: `}unknown key ${quote(key)}; ${hint}`;
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `the string ${quote(value)}`;
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}

function quote(text: string): string {
  return JSON.stringify(text.length <= QUOTED_CHARS ? text : `${text.slice(0, QUOTED_CHARS)}...`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function summary(problems: readonly string[]): string {
  const shown = problems.slice(0, PROBLEMS_IN_MESSAGE).join('; ');
  const more = problems.length - PROBLEMS_IN_MESSAGE;
  return more > 0 ? `${shown}; and ${more} more problems` : shown;
}
