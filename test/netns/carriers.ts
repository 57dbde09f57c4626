import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';

import { tail, type Child } from './child.js';
import type { Lab, LabHost } from './lab.js';
import { hasIpv6At } from './lab_nodes.js';
import type { SelvageOptions } from './selvage.js';

/** How one kind of overlay is set up, host by host. */
export interface Carrier {
  /** Bytes it puts before an inner packet, outer IP header included. */
  readonly headerBytes: number;
  /** Starts it on every host; resolves with its userspace forwarders, one per host, or none for the kernel's. */
  start(lab: Lab): Promise<Child[]>;
  /** Undoes what does not vanish with the forwarders. Must not fail when {@link start} came only half-way. */
  stop(lab: Lab): Promise<void>;
}

const IPV4_UDP_HEADERS = 28;
/** flanneld's default for the udp backend. */
const FLANNEL_PORT = 8285;
/** Seconds until a daemon must have made its device. */
const DEVICE_SECONDS = 10;

/** Plain routing of both families: what flannel calls host-gw. */
export const hostGateway: Carrier = {
  headerBytes: 0,
  async start(lab) {
    for (const host of lab.hosts) {
      await host.ip(
        lab
          .othersOf(host)
          .flatMap(({ subnet, publicIp, ipv6Subnet, publicIpv6 }) => [
            `route add ${subnet} via ${publicIp}`,
            ...(hasIpv6At(lab.underlayMtu) ? [`route add ${ipv6Subnet} via ${publicIpv6}`] : []),
          ])
          .join('\n'),
      );
    }
    return [];
  },
  async stop(lab) {
    for (const host of lab.hosts) await removeRoutes(lab, host);
  },
};

/** Kernel VXLAN, as flannel's vxlan backend sets it up: permanent neighbours, no learning. */
export const vxlan: Carrier = {
  headerBytes: 50,
  async start(lab) {
    for (const host of lab.hosts) await startVxlan(lab, host);
    return [];
  },
  async stop(lab) {
    for (const host of lab.hosts) await host.exec('ip', ['link', 'del', 'flannel.1'], { mayFail: true });
  },
};

/** openvpn without key or cipher: flanneld's wire format, see {@link startOpenvpn}. */
export const openvpn: Carrier = {
  headerBytes: IPV4_UDP_HEADERS,
  start: (lab) => Promise.all(lab.hosts.map((_, i) => startOpenvpn(lab, i))),
  stop: async () => {},
};

/** fastd with method null: one byte before the packet. */
export const fastd: Carrier = {
  headerBytes: IPV4_UDP_HEADERS + 1,
  async start(lab) {
    const keys = await Promise.all(lab.hosts.map(fastdKey));
    return Promise.all(lab.hosts.map((host) => startFastd(lab, host, keys)));
  },
  stop: async () => {},
};

/** `selvage run` on every host. */
export function selvage(options: SelvageOptions): Carrier {
  return {
    headerBytes: IPV4_UDP_HEADERS,
    async start(lab) {
      const daemons = await Promise.all(lab.hosts.map((_, i) => lab.startSelvage(i, options)));
      return daemons.map((daemon) => daemon.child);
    },
    stop: async () => {},
  };
}

/**
 * Starts openvpn on host `index` (counted from 0) alone: the UDP payload is the bare inner packet, as flanneld's is, so
 * the other host may run anything that speaks that.
 *
 * @throws Error when the lab has more than two hosts, as openvpn without keys joins two; or with its output
 */
export async function startOpenvpn(lab: Lab, index: number): Promise<Child> {
  const host = lab.host(index);
  return await startOpenvpnTo(lab, host, onlyOther(lab, host, 'openvpn'), 'ovpn0', FLANNEL_PORT);
}

/**
 * Starts an openvpn on `host` for each other host, so that together they are one flanneld: without keys it knows one peer.
 * All but the first listen on ports of their own, which NAT makes the one port of the network; needs nftables.
 *
 * @returns the processes; {@link stopOpenvpnMesh} takes back what does not end with them
 * @throws Error with openvpn's output
 */
export async function startOpenvpnMesh(lab: Lab, host: LabHost): Promise<Child[]> {
  const others = lab.othersOf(host);
  const rules = others.slice(1).map(({ publicIp }, i) => {
    const port = FLANNEL_PORT + 1 + i;
    return `
      add rule ip mesh in ip saddr ${publicIp} udp dport ${FLANNEL_PORT} redirect to :${port}
      add rule ip mesh out ip daddr ${publicIp} udp sport ${port} snat to ${host.publicIp}:${FLANNEL_PORT}`;
  });
  const input = `
    add table ip mesh
    add chain ip mesh in { type nat hook prerouting priority dstnat; }
    add chain ip mesh out { type nat hook postrouting priority srcnat; }
    ${rules.join('')}\n`;
  await host.exec('nft', ['-f', '-'], { input });
  return await Promise.all(
    others.map((other, i) => startOpenvpnTo(lab, host, other, `ovpn${i}`, FLANNEL_PORT + i)),
  );
}

/** Ends what {@link startOpenvpnMesh} started. Without its rules the kernel translates no flow any more, known ones included. */
export async function stopOpenvpnMesh(host: LabHost, processes: readonly Child[]): Promise<void> {
  await Promise.all(processes.map((each) => each.terminate()));
  await host.exec('nft', ['delete', 'table', 'ip', 'mesh']);
}

async function startOpenvpnTo(
  lab: Lab,
  host: LabHost,
  other: LabHost,
  device: string,
  port: number,
): Promise<Child> {
  const child = host.spawn('openvpn', [
    ...['--dev', device, '--dev-type', 'tun', '--proto', 'udp4'],
    ...['--local', host.publicIp, '--lport', String(port)],
    ...['--remote', other.publicIp, '--rport', String(FLANNEL_PORT)],
    ...['--ifconfig', `10.99.${other.number}.${host.number}`, `10.99.${host.number}.${other.number}`],
    ...['--cipher', 'none', '--auth', 'none', '--disable-dco'],
    ...['--tun-mtu', String(lab.underlayMtu - IPV4_UDP_HEADERS), '--mssfix', '0', '--txqueuelen', '1000'],
    ...['--sndbuf', '4194304', '--rcvbuf', '4194304'],
  ]);
  await ipWhenReady(host, child, `route replace ${other.subnet} dev ${device}`);
  return child;
}

async function startVxlan(lab: Lab, host: LabHost): Promise<void> {
  await host.ip(`
    link add flannel.1 address ${vxlanMac(host)} type vxlan id 1 dstport 8472 local ${host.publicIp} nolearning
    link set flannel.1 mtu ${lab.underlayMtu - vxlan.headerBytes} up
    addr add ${vxlanAddress(host)}/32 dev flannel.1`);
  for (const other of lab.othersOf(host)) {
    await host.ip(`
      route add ${other.subnet} via ${vxlanAddress(other)} dev flannel.1 onlink
      neigh replace ${vxlanAddress(other)} lladdr ${vxlanMac(other)} dev flannel.1 nud permanent`);
    await host.exec('bridge', ['fdb', 'replace', vxlanMac(other), 'dev', 'flannel.1', 'dst', other.publicIp]);
  }
}

/** flannel gives the device the network address of the host's subnet. */
function vxlanAddress(host: LabHost): string {
  return `10.1.${host.number}.0`;
}

function vxlanMac(host: LabHost): string {
  return `0e:00:0a:01:${host.number.toString(16).padStart(2, '0')}:00`;
}

interface FastdKey {
  readonly secret: string;
  readonly public: string;
}

async function fastdKey(host: LabHost): Promise<FastdKey> {
  const { stdout } = await host.exec('fastd', ['--generate-key']);
  const field = (name: string): string =>
    new RegExp(`^${name}:\\s*([0-9a-f]+)`, 'mi').exec(stdout)?.[1] ?? '';
  return { secret: field('Secret'), public: field('Public') };
}

async function startFastd(lab: Lab, host: LabHost, keys: readonly FastdKey[]): Promise<Child> {
  const other = onlyOther(lab, host, 'fastd');
  const file = join(lab.directory, `fastd-${host.label}.conf`);
  writeFileSync(
    file,
    `interface "fastd0"; mode tun; method "null"; mtu ${lab.underlayMtu - fastd.headerBytes};
     bind ${host.publicIp}:10000; secret "${keys[host.number - 1]?.secret}";
     peer "${other.label}" { key "${keys[other.number - 1]?.public}"; remote ${other.publicIp}:10000; }\n`,
    { mode: 0o600 }, // fastd warns about a secret that others may read
  );
  const child = host.spawn('fastd', ['--config', file]);
  await ipWhenReady(host, child, `link set fastd0 up\nroute replace ${other.subnet} dev fastd0`);
  return child;
}

function onlyOther(lab: Lab, host: LabHost, what: string): LabHost {
  const [other, ...more] = lab.othersOf(host);
  if (other === undefined || more.length > 0)
    throw new Error(`${what} joins two hosts, this lab has ${more.length + 2}`);
  return other;
}

/** Repeats `batch` until the daemon has made the device it names. */
async function ipWhenReady(host: LabHost, daemon: Child, batch: string): Promise<void> {
  const deadline = Date.now() + DEVICE_SECONDS * 1000;
  for (;;) {
    const { code, stderr } = await host.exec('ip', ['-batch', '-'], { input: `${batch}\n`, mayFail: true });
    if (code === 0) return;
    if (!daemon.running || Date.now() > deadline) {
      const said = tail(daemon.stdout + daemon.stderr);
      await daemon.terminate(0);
      throw new Error(`${daemon.title}: its device did not appear: ${stderr.trim()}\n${said}`);
    }
    await sleep(50);
  }
}

async function removeRoutes(lab: Lab, host: LabHost): Promise<void> {
  for (const { subnet, ipv6Subnet } of lab.othersOf(host))
    for (const each of [subnet, ipv6Subnet]) await host.exec('ip', ['route', 'del', each], { mayFail: true });
}
