import { type EtcdKey, EtcdServer } from './etcd_server.js';
import { cutOff, reconnect } from './daemon_checks.js';
import { leaseKey, leaseValue, PREFIX } from './flannel_network.js';
import type { LabHost } from './lab.js';
import { until } from './until.js';

/** Longer than a busy machine keeps a process waiting, so that leaders change only when a test makes them. */
const ELECTION = ['--heartbeat-interval=50', '--election-timeout=500'];
const WATCH_STREAMS = /^etcd_debugging_mvcc_watch_stream_total (\d+)$/m;
const FETCH = 'fetch(process.argv[1]).then(async (answer) => console.log(await answer.text()))';
/** Elections and machines that are busy with them. */
const SECONDS = 40;

/** One server of a cluster, and the host of the lab that it has for itself. */
export interface Member {
  readonly server: EtcdServer;
  readonly host: LabHost;
}

/** What a server says of its cluster; ids in hexadecimal. */
interface MemberStatus {
  readonly id: string;
  /** '0' when it knows none. */
  readonly leader: string;
}

/** A real etcd cluster that ends with its lab. */
export class EtcdCluster {
  readonly members: readonly Member[];

  private constructor(members: readonly Member[]) {
    this.members = members;
  }

  /** Starts a member on each host, with empty data and the config of a network, and waits until all serve. */
  static async start(hosts: readonly LabHost[], network: string): Promise<EtcdCluster> {
    const members = hosts.map(({ publicIp }) => publicIp);
    const start = async (host: LabHost): Promise<Member> => {
      const options = { host, address: host.publicIp, members, flags: ELECTION };
      return { host, server: await EtcdServer.start(options) };
    };
    const cluster = new EtcdCluster(await Promise.all(hosts.map(start)));
    await cluster.members[0]!.server.put(`${PREFIX}/config`, JSON.stringify({ Network: network }));
    return cluster;
  }

  /** All servers, as `--etcd-endpoints` takes them. */
  get endpoints(): string {
    return this.members.map(({ server }) => server.endpoint).join();
  }

  /** The members but these. */
  others(...without: readonly Member[]): Member[] {
    return this.members.filter((member) => !without.includes(member));
  }

  /** Waits until these members agree that one of them leads, and returns it. */
  leaderOf(members: readonly Member[]): Promise<Member> {
    return until(
      'the members to have a leader',
      async () => {
        const all = await Promise.all(members.map(statusOf));
        const [leader] = all.map((status) => status?.leader);
        if (!all.every((status) => status !== undefined && status.leader === leader)) return undefined;
        return members[all.findIndex((status) => status?.id === leader)];
      },
      SECONDS,
    );
  }

  /** Makes a member the leader. */
  async lead(member: Member): Promise<void> {
    const leader = await this.leaderOf(this.members);
    if (leader === member) return;
    const { id } = (await statusOf(member))!;
    await leader.server.etcdctl(['move-leader', id]);
    await until('the leader to change', async () => (await this.leaderOf(this.members)) === member, SECONDS);
  }

  /** The member that most watches are open at. Only while all run. */
  async mostWatched(): Promise<Member> {
    const watches = await Promise.all(this.members.map(watchesAt));
    return this.members[watches.indexOf(Math.max(...watches))]!;
  }

  /** From now on the other members cannot be heard by this one, nor this one by them; clients can reach it. */
  async isolate(member: Member): Promise<void> {
    const others = this.others(member);
    await cutOff(member.host, ...others.map(({ host }) => host.publicIp));
    await Promise.all(others.map(({ host }) => cutOff(host, member.host.publicIp)));
  }

  /** Ends {@link isolate}. */
  async rejoin(): Promise<void> {
    await Promise.all(this.members.map(({ host }) => reconnect(host)));
    await this.leaderOf(this.members);
  }
}

/** Watches that clients have open at a member, by its own account. */
export async function watchesAt({ server, host }: Member): Promise<number> {
  const { stdout } = await host.exec(process.execPath, ['-e', FETCH, `${server.endpoint}/metrics`]);
  return Number(WATCH_STREAMS.exec(stdout)?.[1]);
}

/** Leases of hosts, by subnet with their public IP as the value. */
export async function leasesIn({ server }: Member): Promise<Record<string, string>> {
  const keys: EtcdKey[] = await server.list(leaseKey(''));
  return Object.fromEntries(
    keys.map(({ key, value }) => [
      key.slice(leaseKey('').length).replace('-', '/'),
      (JSON.parse(value) as { PublicIP: string }).PublicIP,
    ]),
  );
}

/** A lease key with its value for {@link EtcdServer.putAll}. */
export function leaseEntry(subnet: string, publicIp: string): [key: string, value: string] {
  return [leaseKey(subnet), leaseValue(publicIp)];
}

/** Undefined while it does not answer. The ids have 64 bits, which JSON.parse would round. */
async function statusOf({ server }: Member): Promise<MemberStatus | undefined> {
  const { code, stdout } = await server.etcdctl(['endpoint', 'status', '--write-out=json'], {
    mayFail: true,
  });
  const [, id] = /"member_id":(\d+)/.exec(stdout) ?? [];
  if (code !== 0 || id === undefined) return undefined;
  const [, leader = '0'] = /"leader":(\d+)/.exec(stdout) ?? [];
  return { id: BigInt(id).toString(16), leader: BigInt(leader).toString(16) };
}
