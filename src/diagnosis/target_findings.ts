import type { NetworkFacts } from './facts.js';
import { echoText, type Finding, FindingsAbout } from './finding.js';

/** The address that was asked about: whether anything goes there at all. */
export function targetFindings(facts: NetworkFacts): Finding[] {
  const { target } = facts;
  if (target.kind === 'all' || target.kind === 'peer') return [];
  const about = new FindingsAbout(`address ${target.address}`);
  switch (target.kind) {
    case 'inner':
      about.ok('routePresent', `covered by the route to ${target.prefix}`);
      break;
    case 'noRoute':
      about.fault(
        'noRoute',
        'inside the overlay network, and no host has a subnet with it',
        'selvage routes, selvage lease list: has its host a lease? Is its lease skipped?',
      );
      break;
    case 'unknown':
      about.fault(
        'notInNetwork',
        notInNetwork(facts),
        'give the public IP of a peer, or an address of a pod',
      );
      break;
    case 'local':
      judgeLocal(about, facts, target.prefix);
  }
  return about.list;
}

function notInNetwork({ status: { network, networkName } }: NetworkFacts): string {
  const networks = [network?.network, network?.ipv6Network].filter((each) => each != null);
  return `neither a peer nor an address of ${networks.join(', ') || `${networkName}, whose network is not known yet`}`;
}

/** The overlay does not carry frames for this host's own subnet. */
function judgeLocal(about: FindingsAbout, { local, status }: NetworkFacts, prefix: string): void {
  const message = `in ${prefix}, this host's own subnet`;
  const device = status.forwarder?.device.name;
  if (local !== null && device !== undefined && local.kernelDevice === device) {
    about.fault(
      'localNotAttached',
      `${message}, and the kernel sends it to ${device}, which gives it back`,
      'is the bridge of the pods up, with the subnet of subnet.env?',
    );
    return;
  }
  const small = local?.small ?? null;
  if (small === null) about.ok('localAddress', message);
  else if (small.kind === 'answered') about.ok('localAddress', `${message}: ${echoText(small)}`);
  else {
    about.fault(
      'localSilent',
      `${message}: ${echoText(small)}`,
      'does the pod run, and does it answer pings? selvage has no part in the way to it',
    );
  }
}
