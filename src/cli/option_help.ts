import type { CliOption } from './option_table.js';

/** Terminals of this width show the help without breaking lines. */
export const HELP_COLUMNS = 100;
const TEXT_COLUMN = 34;

/** The options as `--help` shows them: under their headings, aligned, each with its default in brackets. */
export function formatOptions(table: readonly CliOption[]): string {
  let heading: string | undefined;
  const lines: string[] = [];
  for (const option of table) {
    if (option.heading !== undefined && option.heading !== heading) lines.push('', `${option.heading}:`);
    heading = option.heading;
    lines.push(...formatOption(option));
  }
  return lines.join('\n').replace(/^\n/, '');
}

function formatOption(option: CliOption): string[] {
  const value = option.value === undefined ? '' : ` ${option.value}`;
  const left = `${option.flanneld ? '*' : ' '} --${option.name}${value}`;
  const repeatable = option.repeatable ? ' (may be repeated)' : '';
  const fallback = option.fallback === undefined ? '' : ` [${option.fallback}]`;
  const text = wrap(`${option.help}${repeatable}${fallback}`, HELP_COLUMNS - TEXT_COLUMN);
  const indented = text.map((line) => ' '.repeat(TEXT_COLUMN) + line);
  if (left.length > TEXT_COLUMN - 2) return [left, ...indented];
  return [left.padEnd(TEXT_COLUMN) + text[0]!, ...indented.slice(1)];
}

/** Breaks a paragraph at blanks into lines of at most `columns`; a longer word has a line of its own. */
export function wrap(paragraph: string, columns: number): string[] {
  const lines = [''];
  for (const word of paragraph.trim().split(/\s+/)) {
    const line = lines.at(-1)!;
    if (line === '') lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Wraps the paragraphs of a text; those with indented lines, as examples are, stay as they were. */
export function reflow(text: string, columns: number): string {
  const paragraphs = text.split('\n\n');
  const wrapped = paragraphs.map((paragraph) =>
    /^ /m.test(paragraph) ? paragraph : wrap(paragraph, columns).join('\n'),
  );
  return wrapped.join('\n\n');
}
