import type { AgentFirewall, AgentOptions } from '../index.js';
import type { RunSettings } from './run_settings.js';

/** What the settings say of an agent, but for its source and what answers questions. */
export function commonAgentOptions(
  settings: RunSettings,
): Omit<AgentOptions, 'source' | 'controlSocket' | 'health' | 'admit'> {
  const { publicIp, publicIpv6, subnetFile } = settings;
  return {
    underlay: settings.underlay,
    forwarder: settings.forwarder,
    ...(settings.ipMasq || settings.forwardRules ? { firewall: firewallOf(settings) } : {}),
    blackholeRoute: settings.blackholeRoute,
    resyncSeconds: settings.resyncSeconds,
    stateDirectory: settings.stateDirectory,
    ...(publicIp === undefined ? {} : { publicIp }),
    ...(publicIpv6 === undefined ? {} : { publicIpv6 }),
    ...(subnetFile === undefined ? {} : { subnetFile }),
  };
}

function firewallOf({ ipMasq, forwardRules, fullyRandom }: RunSettings): AgentFirewall {
  return { masquerade: ipMasq, forward: forwardRules, fullyRandom };
}
