import type { MessageInitShape } from '@bufbuild/protobuf';

import type { StoreEvent, WatchListener } from '../store/lease_store.js';
import { faultOfCancel, RequestFault } from './fault.js';
import { type Event, Event_EventType } from './gen/kv_pb.js';
import type { WatchRequestSchema, WatchResponse } from './gen/rpc_pb.js';
import type { KeyRange, KeySpace } from './key_space.js';

/**
 * The one request of a watch: everything in `range` after revision `after`. The stream of requests stays open until `signal`
 * aborts, as its end would end the watch.
 *
 * Progress is told by the server of its own accord (every 10 minutes when nothing happens). Asking for it is another matter:
 * before 3.4.25 and 3.5.8 the answer may overtake events (etcd issue 15220).
 */
export async function* watchRequests(
  range: KeyRange,
  after: bigint,
  signal: AbortSignal,
): AsyncGenerator<MessageInitShape<typeof WatchRequestSchema>> {
  const value = { ...range, startRevision: after + 1n, progressNotify: true };
  yield { requestUnion: { case: 'createRequest', value } };
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

/**
 * Reads a watch to its end, which is always a fault.
 *
 * @param onCreated the server confirmed the watch and told its revision; may reject
 * @throws RequestFault, or what reading throws
 */
export async function followWatch(
  responses: AsyncIterable<WatchResponse>,
  keys: KeySpace,
  listener: WatchListener,
  onCreated: (revision: bigint) => Promise<void>,
): Promise<never> {
  for await (const response of responses) {
    throwIfCancelled(response);
    const { created, events } = response;
    if (created) await onCreated(response.header?.revision ?? 0n);
    else if (events.length > 0) deliver(events, keys, listener);
    else if (response.header !== undefined) listener.onBatch([], response.header.revision);
  }
  throw new RequestFault({ kind: 'server', reason: 'the server ended the watch', maybeDone: false });
}

function throwIfCancelled({ canceled, compactRevision, cancelReason }: WatchResponse): void {
  if (compactRevision !== 0n) {
    const reason = `the changes before revision ${compactRevision} have been compacted`;
    throw new RequestFault({ kind: 'compacted', reason, maybeDone: false });
  }
  if (canceled) throw new RequestFault(faultOfCancel(cancelReason));
}

/**
 * The header of a response with events may be ahead of them while a watch catches up (mvcc watchableStore.syncWatchers sends
 * 1000 revisions at a time with the newest revision in the header), so the last event tells how far we are. The events of one
 * revision are never spread over two responses (mvcc eventBatch.add).
 */
function deliver(events: readonly Event[], keys: KeySpace, listener: WatchListener): void {
  const last = events.at(-1)?.kv?.modRevision ?? 0n;
  listener.onBatch(
    events.flatMap((event) => eventOf(event, keys)),
    last,
  );
}

function eventOf({ type, kv }: Event, keys: KeySpace): StoreEvent[] {
  if (kv === undefined) return [];
  if (type === Event_EventType.PUT) return [{ kind: 'put', entry: keys.entryOf(kv) }];
  return [{ kind: 'delete', key: keys.decode(kv.key), revision: kv.modRevision }];
}
