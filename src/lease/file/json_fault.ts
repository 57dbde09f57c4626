/** Where a text stops being JSON. Lines and columns count from 1; columns count UTF-16 units, as editors do. */
export interface JsonFault {
  readonly line: number;
  readonly column: number;
  /** What was found and what could have stood there, e.g. `"}" where a value is expected`. */
  readonly reason: string;
}

const WORDS = ['true', 'false', 'null'];
const HEX4 = /^[0-9a-fA-F]{4}$/;
const ESCAPES = '"\\/bfnrt';
const LAST_CONTROL = 0x1f;

const VALUE = 'a value';
const KEY = 'a key in double quotes';

/**
 * Finds the first fault of a text that `JSON.parse` refused, because V8 gives the position for some faults only, and never
 * the line (Node 20). Grammar: RFC 8259. Iterative and without patterns, as the text may nest deeply and hold long strings.
 *
 * @returns undefined when the text is JSON after all
 */
export function findJsonFault(text: string): JsonFault | undefined {
  const scanner = new Scanner(text);
  return scanner.scan() ? undefined : locate(text, scanner.at, scanner.expected);
}

class Scanner {
  /** Next character to read; after a failed scan, the one that does not fit. */
  at = 0;
  /** What a failed scan would have accepted at `at`. */
  expected = '';
  readonly #text: string;
  /** Closing brackets still owed. */
  readonly #open: ('}' | ']')[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  scan(): boolean {
    if (!this.#value()) return false;
    for (;;) {
      const close = this.#open.at(-1);
      if (close === undefined) return this.#end();
      if (this.#take(close)) this.#open.pop();
      else if (!this.#take(',')) return this.#fail(`"," or "${close}"`);
      else if (close === '}' ? !this.#member() : !this.#value()) return false;
    }
  }

  /** One whole scalar, or the start of an object or array up to and with the first scalar in it. */
  #value(): boolean {
    for (;;) {
      if (this.#take('[')) {
        this.#open.push(']');
        if (this.#peek() === ']') return true;
      } else if (this.#take('{')) {
        this.#open.push('}');
        if (this.#peek() === '}') return true;
        if (!this.#key()) return false;
      } else return this.#scalar();
    }
  }

  #member(): boolean {
    return this.#key() && this.#value();
  }

  #key(): boolean {
    if (this.#peek() !== '"') return this.#fail(KEY);
    if (!this.#string()) return false;
    return this.#take(':') || this.#fail('":"');
  }

  #scalar(): boolean {
    const first = this.#peek();
    if (first === '"') return this.#string();
    if (first === '-' || isDigit(first)) return this.#number();
    const word = WORDS.find((candidate) => this.#text.startsWith(candidate, this.at));
    if (word === undefined) return this.#fail(VALUE);
    this.at += word.length;
    return true;
  }

  #string(): boolean {
    const text = this.#text;
    for (this.at++; this.at < text.length; this.at++) {
      const character = text[this.at]!;
      if (character === '"') {
        this.at++;
        return true;
      }
      if (character.charCodeAt(0) <= LAST_CONTROL) break;
      if (character === '\\' && !this.#escape()) return this.#fail('an escape like \\n, \\" or \\u00e9');
    }
    return this.#fail('the rest of a string and its closing quote');
  }

  /** Moves from the backslash to the last character of the escape; stays when it is not one. */
  #escape(): boolean {
    const kind = this.#text[this.at + 1] ?? '';
    if (kind !== '' && ESCAPES.includes(kind)) this.at += 1;
    else if (kind === 'u' && HEX4.test(this.#text.slice(this.at + 2, this.at + 6))) this.at += 5;
    else return false;
    return true;
  }

  #number(): boolean {
    if (this.#text[this.at] === '-') this.at++;
    if (this.#text[this.at] === '0') this.at++;
    else if (!this.#digits()) return false;
    if (this.#text[this.at] === '.') {
      this.at++;
      if (!this.#digits()) return false;
    }
    const exponent = this.#text[this.at];
    if (exponent !== 'e' && exponent !== 'E') return true;
    this.at++;
    const sign = this.#text[this.at];
    if (sign === '+' || sign === '-') this.at++;
    return this.#digits();
  }

  #digits(): boolean {
    if (!isDigit(this.#text[this.at])) return this.#fail('a digit');
    while (isDigit(this.#text[this.at])) this.at++;
    return true;
  }

  #end(): boolean {
    return this.#peek() === undefined || this.#fail('the end of the file');
  }

  #peek(): string | undefined {
    while (isSpace(this.#text[this.at])) this.at++;
    return this.#text[this.at];
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.at++;
    return true;
  }

  #fail(expected: string): false {
    this.expected = expected;
    return false;
  }
}

function isDigit(character: string | undefined): boolean {
  return character !== undefined && character >= '0' && character <= '9';
}

function isSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\t' || character === '\n' || character === '\r';
}

function locate(text: string, at: number, expected: string): JsonFault {
  const before = text.slice(0, at);
  const lineStart = before.lastIndexOf('\n') + 1;
  return {
    line: before.split('\n').length,
    column: at - lineStart + 1,
    reason: `${nameOf(text, at)} where ${expected} is expected`,
  };
}

function nameOf(text: string, at: number): string {
  const code = text.codePointAt(at);
  if (code === undefined) return 'the file ends';
  if (code === 0x0a || code === 0x0d) return 'the line ends';
  return JSON.stringify(String.fromCodePoint(code));
}
