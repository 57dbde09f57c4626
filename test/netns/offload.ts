import type { LabHost } from './lab.js';

/**
 * What the link between the hosts does with superframes:
 * - `veth`: as the kernel makes a veth pair: a superframe crosses whole
 * - `wire`: as a network card: cut to MTU size by the sender, joined again by the receiver (GRO)
 * - `wire-nogro`: the same without the receiver joining
 */
export type OffloadScenario = 'veth' | 'wire' | 'wire-nogro';

const CUT_BY_SENDER = {
  tso: 'off',
  gso: 'off',
  'tx-udp-segmentation': 'off',
  'tx-udp_tnl-segmentation': 'off',
  'tx-udp_tnl-csum-segmentation': 'off',
} as const;

/** ethtool's long names, in its JSON, of the features that it takes under a short name. */
const LONG_NAMES: Readonly<Record<string, string>> = {
  tso: 'tcp-segmentation-offload',
  gso: 'generic-segmentation-offload',
  gro: 'generic-receive-offload',
};

type Features = Readonly<Record<string, 'on' | 'off'>>;

const SCENARIOS: Readonly<Record<'wire' | 'wire-nogro', Features>> = {
  wire: { ...CUT_BY_SENDER, gro: 'on' },
  'wire-nogro': { ...CUT_BY_SENDER, gro: 'off' },
};

/** Sets the offload features of the hosts' underlay interfaces; remembers how the kernel had made them. */
export class LinkOffload {
  readonly #hosts: readonly LabHost[];
  readonly #original = new Map<LabHost, Features>();

  constructor(hosts: readonly LabHost[]) {
    this.#hosts = hosts;
  }

  async apply(scenario: OffloadScenario): Promise<void> {
    await Promise.all(this.#hosts.map((host) => this.#applyTo(host, scenario)));
  }

  async #applyTo(host: LabHost, scenario: OffloadScenario): Promise<void> {
    const original = this.#original.get(host) ?? (await readFeatures(host));
    this.#original.set(host, original);
    const features = scenario === 'veth' ? original : SCENARIOS[scenario];
    await host.exec('ethtool', ['-K', host.underlay, ...Object.entries(features).flat()]);
    await verify(host, features);
  }
}

async function readFeatures(host: LabHost): Promise<Features> {
  const { stdout } = await host.exec('ethtool', ['--json', '-k', host.underlay]);
  const all = (JSON.parse(stdout) as Record<string, { active: boolean }>[])[0] ?? {};
  const names = Object.keys(SCENARIOS.wire);
  return Object.fromEntries(
    names.map((name) => [name, all[LONG_NAMES[name] ?? name]?.active ? 'on' : 'off']),
  );
}

/** ethtool answers 0 when it could change only some of the features, and a scenario half-set would measure nonsense. */
async function verify(host: LabHost, wanted: Features): Promise<void> {
  const actual = await readFeatures(host);
  const wrong = Object.keys(wanted).filter((name) => actual[name] !== wanted[name]);
  if (wrong.length > 0)
    throw new Error(`[${host.label}] ethtool could not change ${wrong.join(', ')} of ${host.underlay}`);
}
