import type { Finding } from '../index.js';
import type { CheckedNetwork } from './check.js';

/** Of more subjects than this, those that are well have one line each. */
const MOST_FULL = 6;
const LABELS = { ok: 'ok     ', warning: 'warning', fault: 'FAULT  ' } as const;

/** Reports as people read them: what was found by subject, and at the end how much of it is bad. */
export function checkText(checked: readonly CheckedNetwork[]): string {
  const parts = checked.map((each) => networkText(each));
  const findings = checked.flatMap(({ report }) => report.findings);
  if (checked.length === 0) return '';
  return `${parts.join('\n')}\n${summary(checked, findings)}\n`;
}

function networkText({ socketPath, segment, report }: CheckedNetwork): string {
  const name = segment === undefined ? '' : `, segment ${segment}`;
  const title = `${report.device ?? 'no device'} (${report.networkName}${name}, ${socketPath})`;
  const subjects = bySubject(report.findings);
  const isLong = subjects.size > MOST_FULL;
  const lines = [...subjects].flatMap(([subject, findings]) =>
    isLong && subject !== 'daemon' && findings.every(({ severity }) => severity === 'ok')
      ? [`${subject}: ok`]
      : [subject, ...findings.flatMap(findingLines)],
  );
  return [title, ...lines].map((line) => `${safe(line)}\n`).join('');
}

/** What daemons, servers and other hosts said must not reach the terminal as control characters. */
function safe(line: string): string {
  return line.replace(/\p{Cc}/gu, '?');
}

function bySubject(findings: readonly Finding[]): Map<string, Finding[]> {
  const subjects = new Map<string, Finding[]>();
  for (const finding of findings) {
    const known = subjects.get(finding.subject);
    if (known === undefined) subjects.set(finding.subject, [finding]);
    else known.push(finding);
  }
  return subjects;
}

function findingLines({ severity, message, remedy }: Finding): string[] {
  const first = `  ${LABELS[severity]}  ${message}`;
  return remedy === null ? [first] : [first, `           -> ${remedy}`];
}

function summary(checked: readonly CheckedNetwork[], findings: readonly Finding[]): string {
  const count = (severity: Finding['severity'], one: string, many: string): string => {
    const found = findings.filter((finding) => finding.severity === severity).length;
    return `${found === 0 ? 'no' : found} ${found === 1 ? one : many}`;
  };
  const unchecked = checked.some(({ report }) => report.verdict === 'unchecked');
  const end = unchecked ? '; not everything could be looked at' : '';
  return `${count('fault', 'fault', 'faults')}, ${count('warning', 'warning', 'warnings')}${end}`;
}
