import { messageOf } from '../../src/errors.js';
import { Lab } from '../../test/netns/lab.js';
import { ensurePackages, LAB_PACKAGES, type PackageName } from '../../test/netns/packages.js';
import { createPath, type OverlayPath, type PathName } from '../../test/netns/peers.js';
import type { ScenarioName } from './matrix.js';

/** Debian packages that only one path needs. */
const OWN_PACKAGES: Partial<Record<PathName, PackageName>> = { openvpn: 'openvpn', fastd: 'fastd' };

/**
 * One path, up, in a lab of its own: all paths are there at once, so that they can take turns without being set up anew.
 * An idle path costs next to nothing: its forwarders sleep.
 */
export class BenchPath {
  readonly name: PathName;
  readonly lab: Lab;
  readonly overlay: OverlayPath;

  private constructor(name: PathName, lab: Lab, overlay: OverlayPath) {
    this.name = name;
    this.lab = lab;
    this.overlay = overlay;
  }

  /**
   * @param lanes worker threads of each daemon, for the path selvage
   * @throws Error when it does not come up; nothing is left of it
   */
  static async open(name: PathName, lanes: number): Promise<BenchPath> {
    const own = OWN_PACKAGES[name];
    if (own !== undefined) ensurePackages([own]);
    const lab = await Lab.create();
    try {
      // Otherwise the kernel would begin a connection with what it learned from the one before, under another scenario.
      await Promise.all(lab.pods.map((pod) => pod.sysctl({ 'net/ipv4/tcp_no_metrics_save': 1 })));
      const overlay = createPath(lab, name, { selvage: { extraArgs: ['--lanes', String(lanes)] } });
      await overlay.start();
      return new BenchPath(name, lab, overlay);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  setScenario(scenario: ScenarioName): Promise<void> {
    return this.lab.offload(scenario);
  }

  /** Sets the path up anew, after a measurement failed. */
  async restart(): Promise<void> {
    await this.overlay.stop();
    await this.overlay.start();
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}

/** A path that cannot be measured here, and why. */
export interface UnavailablePath {
  readonly name: PathName;
  readonly reason: string;
}

export interface BenchPaths {
  readonly open: readonly BenchPath[];
  readonly unavailable: readonly UnavailablePath[];
}

/**
 * Sets up all paths. One whose program is missing, or that does not come up, is reported and left out.
 *
 * @throws Error when a program is missing that every path needs
 */
export async function openPaths(names: readonly PathName[], lanes: number): Promise<BenchPaths> {
  ensurePackages([...LAB_PACKAGES, 'ethtool', 'iperf3']);
  const open: BenchPath[] = [];
  const unavailable: UnavailablePath[] = [];
  for (const name of names) {
    try {
      open.push(await BenchPath.open(name, lanes));
    } catch (error) {
      unavailable.push({ name, reason: messageOf(error) });
    }
  }
  return { open, unavailable };
}
