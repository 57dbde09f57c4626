/** What etcd has counted since its start. */
export interface EtcdCounters {
  /** Requests and streams of every kind. */
  readonly requests: number;
  readonly sentBytes: number;
}

/**
 * Reads etcd's own metrics.
 *
 * @throws Error when it does not answer, or has no such metric
 * @see etcd 3.4 server/etcdserver/api/etcdhttp/metrics.go; go-grpc-prometheus for the requests
 */
export async function readEtcdCounters(endpoint: string): Promise<EtcdCounters> {
  const text = await (await fetch(`${endpoint}/metrics`)).text();
  return {
    requests: sumOf(text, 'grpc_server_started_total'),
    sentBytes: sumOf(text, 'etcd_network_client_grpc_sent_bytes_total'),
  };
}

function sumOf(text: string, metric: string): number {
  const rows = text
    .split('\n')
    .filter((line) => line.startsWith(`${metric}{`) || line.startsWith(`${metric} `));
  if (rows.length === 0) throw new Error(`etcd has no metric ${metric}`);
  return rows.reduce((sum, row) => sum + Number(row.slice(row.lastIndexOf(' '))), 0);
}
