import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Test } from 'tap';

import type { CommandResult } from './child.js';
import type { LabHost } from './lab.js';
import { Scenario } from './scenario.js';
import { routesOf } from './selvage.js';

export interface Opened {
  readonly scenario: Scenario;
  readonly lab: Scenario['lab'];
  /** A sound file of host1. */
  readonly routesFile: string;
}

export async function openScenario(t: Test): Promise<Opened> {
  const scenario = await Scenario.open(t, { record: true });
  const { lab } = scenario;
  const routesFile = join(lab.directory, 'sound.json');
  writeFileSync(routesFile, JSON.stringify(routesOf(lab, 0)));
  return { scenario, lab, routesFile };
}

/** Asserts that a command failed as selvage fails: one line that says the cause and the remedy. */
export function assertOneLine(
  t: Test,
  result: CommandResult,
  code: number,
  says: RegExp,
  rule: string,
): void {
  const { stdout, stderr } = result;
  t.equal(result.code, code, `${rule}: exit code ${code}`);
  t.match(stderr, /^selvage: [^\n]+\n$/, `${rule}: one line on standard error`);
  t.match(stderr, says, `${rule}: cause and remedy`);
  t.equal(stdout, '', `${rule}: nothing on standard output`);
}

export async function hasDevice(host: LabHost, name: string): Promise<boolean> {
  return (await host.exec('ip', ['link', 'show', 'dev', name], { mayFail: true })).code === 0;
}

export async function hasOverlayRoute(host: LabHost): Promise<boolean> {
  return (await host.exec('ip', ['-4', 'route', 'show', '10.1.0.0/16'])).stdout.includes('dev flannel0');
}
