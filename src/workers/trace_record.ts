/**
 * What a trace shows of one frame, as plain data.
 */
import type { Direction, DropReasonName } from '../encap/drop_reason.js';
import type { IpFamily } from '../ip_address.js';

/** What names the flow of an inner frame. */
export interface TraceFlow {
  readonly family: IpFamily;
  readonly source: string;
  readonly destination: string;
  /** Protocol number; -1 when the header that names it was not kept. */
  readonly protocol: number;
  /** -1 for a protocol without ports, and for a fragment that is not the first. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** One frame, or one superframe, and what became of it. */
export interface TraceRecord {
  readonly lane: number;
  /** When its burst was taken up: right to a tick of the kernel's coarse clock, 1 to 10 ms. */
  readonly time: Date;
  readonly direction: Direction;
  /** Why it, or a part of it, ended here; null when all of it went on. */
  readonly reason: DropReasonName | null;
  /** Wire-sized frames in it: 1, or more for a superframe. */
  readonly segments: number;
  /** So many of them did not leave: all of `segments` when it ended here. */
  readonly lostSegments: number;
  /** Where it was sent, outbound; null for one that ended before it was offered to the socket. */
  readonly nextHop: { readonly address: string; readonly port: number } | null;
  /** Where it came from on the underlay, inbound. */
  readonly outerSource: string | null;
  /** Bytes of the frame; of a superframe, all of it. */
  readonly lengthBytes: number;
  /** Bytes of its largest wire-sized frame. */
  readonly wireBytes: number;
  /** Null when its bytes are no IP header. */
  readonly flow: TraceFlow | null;
  /**
   * Its first 120 bytes, or all; as sent when it went on, so with the TTL decremented. Of a superframe that came in, no more than
   * its first datagram.
   */
  readonly head: Uint8Array;
}

/**
 * What became of the frames that matched, superframes counted once: `matched` is the sum of the others at every moment.
 */
export interface TraceTotals {
  readonly matched: number;
  readonly shown: number;
  /** Kept back by the rate limit of their lane. */
  readonly limited: number;
  /** Found the lane's ring full, because the reader was late. */
  readonly overrun: number;
  /** Kept back because the one who asked reads too slowly. */
  readonly unsent: number;
}

/** Who is shown a trace. Called on the main thread. */
export interface TraceListener {
  onRecord(record: TraceRecord): void;
  /** After the records of each look at the rings, when anything matched since the last. */
  onTotals(totals: TraceTotals): void;
  /** The trace is over, by `close()` or because the forwarder closes; nothing follows, and the totals told are final. */
  onEnd(): void;
}

/** What is known about next hops. Main thread. */
export interface NextHopDirectory {
  /** Ids that lead to an address, in canonical spelling, whatever the port. */
  idsOf(address: string): readonly number[];
  /** Where an id leads now; undefined when it leads nowhere. */
  endpointOf(id: number): { readonly address: string; readonly port: number } | undefined;
}
