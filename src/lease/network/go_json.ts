import { findJsonFault } from '../file/json_fault.js';

/** Characters of a wrong value that an error repeats. */
const QUOTED_CHARS = 60;

/**
 * Reads a JSON object as Go's `encoding/json` fills a struct, because flanneld wrote or will read the same text: names are
 * told apart by nothing but their letters, the last of several spellings wins, and `null` changes nothing.
 *
 * Where one spelling is repeated with another between, JavaScript has kept only the last value at the first place; nobody
 * writes such a text.
 *
 * @param fields names as Go has them
 * @returns values of those fields that are there; others are ignored
 * @throws Error saying what the text is instead of an object
 */
export function readGoObject<Field extends string>(
  text: string,
  fields: readonly Field[],
): Partial<Record<Field, unknown>> {
  return pickGoFields(parse(text), fields);
}

/** The same for a value that is parsed already; `null` is an object without fields. */
export function pickGoFields<Field extends string>(
  value: unknown,
  fields: readonly Field[],
): Partial<Record<Field, unknown>> {
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new Error(`${describeJson(value)} is not a JSON object`);
  }
  const byName = new Map(fields.map((field) => [field.toLowerCase(), field]));
  const found: Partial<Record<Field, unknown>> = {};
  for (const [key, member] of Object.entries(value as Record<string, unknown>)) {
    const field = byName.get(key.toLowerCase());
    if (field !== undefined && member !== null) found[field] = member;
  }
  return found;
}

/** A value from JSON in few words, for errors. */
export function describeJson(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return String(value);
  return JSON.stringify(value.length <= QUOTED_CHARS ? value : `${value.slice(0, QUOTED_CHARS)}...`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const fault = findJsonFault(text);
    if (fault === undefined) throw error;
    const { line, column, reason } = fault;
    throw new Error(`not valid JSON at line ${line}, column ${column}: ${reason}`, { cause: error });
  }
}
