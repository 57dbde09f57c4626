import type { Test } from 'tap';

import type { Lab } from './lab.js';
import { pathMtuTo } from './paths.js';
import { Scenario } from './scenario.js';
import { overheadBytes, type NetworkKind, type SelvageDaemon } from './selvage.js';

/** What a narrow path takes of an outer packet. */
export const NARROW_BYTES = 1400;
export const PROBES: readonly string[] = ['--path-probe-seconds', '1'];
/** A probe that finds a black hole takes some seconds; those of a busy machine are longer. */
export const FOUND_SECONDS = 30;

/** Two hosts behind a router that probe their paths each second; see {@link openProbed}. */
export interface ProbedHosts {
  readonly lab: Lab;
  readonly daemons: SelvageDaemon[];
  /** Most bytes of an inner frame on a path of {@link NARROW_BYTES}, and on one that takes full size. */
  readonly narrow: number;
  readonly full: number;
  /** The limit of the path from host1 to host2. */
  readonly limit: () => Promise<number | null>;
}

/** Starts them. Nothing on the way takes superframes, as on a real wire. */
export async function openProbed(t: Test, kind: NetworkKind = {}): Promise<ProbedHosts> {
  const scenario = await Scenario.open(t, { router: true, hosts: 2 });
  const { lab } = scenario;
  await lab.offload('wire');
  const daemons = await scenario.startAll({ ...kind, extraArgs: PROBES });
  const peer = kind.underlay === 'ipv6' ? lab.host(1).publicIpv6 : lab.host(1).publicIp;
  const overhead = overheadBytes(kind);
  return {
    lab,
    daemons,
    narrow: NARROW_BYTES - overhead,
    full: lab.underlayMtu - overhead,
    limit: () => pathMtuTo(daemons[0]!, peer),
  };
}
