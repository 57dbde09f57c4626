import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { cpuSeconds } from '../../test/netns/cpu_time.js';
import { Lab } from '../../test/netns/lab.js';
import { tcp } from '../../test/netns/loads.js';
import { ensurePackages, LAB_PACKAGES } from '../../test/netns/packages.js';
import { routesOf, type SelvageDaemon } from '../../test/netns/selvage.js';
import { startToolUntil } from '../../test/netns/tool.js';
import { StepProgress } from '../leases/progress.js';
import type { BenchSettings } from '../options.js';
import { Samples } from '../samples.js';
import { FloodGenerator } from './generator.js';
import { type FloodFigure, floodReport, floodRows, type FloodRowName, FLOOD_ROW_NAMES } from './report.js';

const SELVAGE_PORT = 8285;
const UNREAD_PORT = 9999;
const OVERHEAD_BYTES = 28;
const CALIBRATION_SECONDS = 2;
/** TCP and its slow start begin and end within the flood. */
const FLOOD_MARGIN_SECONDS = 30;
const STRANGER = 2;

/** Where a row's flood goes, and which daemons the TCP stream passes. */
interface FloodRow {
  readonly lab: FloodLab;
  readonly port: number | undefined;
}

/** What a flood of strangers does to one TCP stream between two hosts; prints and writes the result. */
export async function benchFlood(settings: BenchSettings): Promise<void> {
  const { rounds, seconds, lanes, jsonFile } = settings;
  ensurePackages([...LAB_PACKAGES, 'iperf3', 'g++', 'python3']);
  const labs: FloodLab[] = [];
  try {
    const early = await FloodLab.open(lanes, []);
    labs.push(early);
    const late = await FloodLab.open(lanes, ['--early-drop=false']);
    labs.push(late);
    const rows: Readonly<Record<FloodRowName, FloodRow>> = {
      none: { lab: early, port: undefined },
      unread: { lab: early, port: UNREAD_PORT },
      lane: { lab: late, port: SELVAGE_PORT },
      early: { lab: early, port: SELVAGE_PORT },
    };
    const samples = new Samples();
    const progress = new StepProgress(1 + rounds * FLOOD_ROW_NAMES.length);
    progress.begin('the rate of the flood');
    const perSecond = await early.fullRate();
    progress.end('the rate of the flood', `${Math.round(perSecond / 1000)} kpps, the most of every row`);
    for (let round = 0; round < rounds; round++) {
      for (const name of rotated(FLOOD_ROW_NAMES, round)) {
        const title = `round ${round + 1}/${rounds}  ${name}`;
        progress.begin(title);
        const { lab, port } = rows[name];
        const figures = await lab.measure(port, seconds, perSecond);
        for (const [figure, value] of Object.entries(figures)) samples.add(`${name} ${figure}`, value);
        progress.end(title, `${figures.tcp.toPrecision(3)} Gbit/s`);
      }
    }
    progress.close();
    process.stdout.write(`${floodReport(samples, { rounds, seconds, lanes }).join('\n')}\n`);
    if (jsonFile !== undefined) writeRows(jsonFile, floodRows(samples));
  } finally {
    await Promise.all(labs.map((lab) => lab.close()));
  }
}

/**
 * ```text
 *  pod1 -- host1 ~ selvage --+            +-- selvage ~ host2 -- pod2      TCP from pod1 to pod2
 *                            +-- wires ---+
 *                   host3 ---+                host3, which is nobody's peer, floods host2
 * ```
 */
class FloodLab {
  readonly #lab: Lab;
  readonly #receiver: SelvageDaemon;
  readonly #generator: FloodGenerator;

  private constructor(lab: Lab, receiver: SelvageDaemon) {
    this.#lab = lab;
    this.#receiver = receiver;
    this.#generator = FloodGenerator.compile(lab, lab.host(STRANGER));
  }

  static async open(lanes: number, args: readonly string[]): Promise<FloodLab> {
    const lab = await Lab.create({ hosts: 3 });
    try {
      const daemons: SelvageDaemon[] = [];
      for (const index of [0, 1]) {
        const all = routesOf(lab, index);
        const peers = all.peers.filter(({ publicIp }) => publicIp !== lab.host(STRANGER).publicIp);
        const extraArgs = ['--lanes', String(lanes), ...args];
        daemons.push(await lab.startSelvage(index, { routes: { ...all, peers }, extraArgs }));
      }
      await lab.setPodMtu(lab.underlayMtu - OVERHEAD_BYTES);
      await startToolUntil('bound', lab.host(1), 'udp_unread', lab.host(1).publicIp, UNREAD_PORT);
      return new FloodLab(lab, daemons[1]!);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Datagrams a second that the generator sends when nothing else runs. */
  async fullRate(): Promise<number> {
    const flood = await this.#start(UNREAD_PORT, CALIBRATION_SECONDS + FLOOD_MARGIN_SECONDS, 0);
    await sleep(CALIBRATION_SECONDS * 1000);
    const { sent, seconds } = await flood.end();
    return sent / seconds;
  }

  /** @param port where the flood goes; undefined for none */
  async measure(
    port: number | undefined,
    seconds: number,
    perSecond: number,
  ): Promise<Record<FloodFigure, number>> {
    const flood =
      port === undefined ? undefined : await this.#start(port, seconds + FLOOD_MARGIN_SECONDS, perSecond);
    const { pid } = this.#receiver;
    const [before, startedAt] = [cpuSeconds([pid]), performance.now()];
    const { gbitPerSecond } = await tcp(this.#lab, { seconds });
    const cpu = (cpuSeconds([pid]) - before) / ((performance.now() - startedAt) / 1000);
    const flooded = await flood?.end();
    return {
      tcp: gbitPerSecond,
      flood: flooded === undefined ? 0 : flooded.sent / flooded.seconds / 1000,
      cpu: 100 * cpu,
    };
  }

  close(): Promise<void> {
    return this.#lab.close();
  }

  #start(port: number, seconds: number, perSecond: number): ReturnType<FloodGenerator['start']> {
    const target = this.#lab.host(1);
    return this.#generator.start(target.at(target.publicIp), port, seconds, perSecond);
  }
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

function writeRows(file: string, rows: readonly object[]): void {
  writeFileSync(file, `[\n${rows.map((row) => `  ${JSON.stringify(row)}`).join(',\n')}\n]\n`);
  process.stdout.write(`wrote ${file}\n`);
}
