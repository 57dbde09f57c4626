import t from 'tap';

import { DropReason } from '../../src/encap/drop_reason.js';
import { parseAddress } from '../../src/ip_address.js';
import { INBOUND, LaneCounters } from '../../src/workers/counters.js';
import { type Refusal, RefusalWatch } from '../../src/workers/refusal_watch.js';
import { SuspectNote } from '../../src/workers/suspect_note.js';
import { until } from '../netns/until.js';

const { spoofedSource, unknownPeer } = DropReason;
const OUTER = parseAddress('192.0.2.7').words;
/** Versions and sources of both families where the headers have them. */
const IPV4_FRAME = Uint8Array.from({ length: 20 }, (_, i) =>
  i >= 12 && i < 16 ? [10, 9, 8, 7][i - 12]! : 0,
);
const IPV6_FRAME = Uint8Array.from({ length: 40 }, (_, i) => (i === 8 ? 0xfd : i === 23 ? 5 : 0));

function lane(): { counters: LaneCounters; note: SuspectNote } {
  const counters = new LaneCounters(new SharedArrayBuffer(LaneCounters.byteLength(1)), 1);
  return { counters, note: new SuspectNote(SuspectNote.allocate()) };
}

t.test('a note is read back as it was written, in both families', (t) => {
  const { note } = lane();
  t.equal(note.read(spoofedSource), undefined, 'none yet');
  note.write(spoofedSource, false, OUTER, 0, IPV4_FRAME, 0);
  t.equal(note.read(unknownPeer), undefined, 'of this reason still none');
  note.write(unknownPeer, true, OUTER, 0, IPV6_FRAME, 0);
  const [spoofed, unknown] = [note.read(spoofedSource)!, note.read(unknownPeer)!];
  t.match([spoofed.family, unknown.family], [4, 6], 'neither takes the place of the other');
  t.same([...spoofed.innerSource], [...parseAddress('10.9.8.7').words]);
  t.same([...spoofed.outerSource], [...OUTER]);
  t.same([...unknown.innerSource], [...parseAddress('fd00::5').words]);
  t.end();
});

t.test(
  'who is refused is told with all that was refused since the last time, at a bounded rate',
  async (t) => {
    const { counters, note } = lane();
    const told: Refusal[] = [];
    const watch = new RefusalWatch({
      underlay: 4,
      counters: [counters],
      suspects: [note],
      filtered: () => undefined,
      onRefusal: (refusal) => told.push(refusal),
    });
    t.teardown(() => watch.close());
    note.write(spoofedSource, false, OUTER, 0, IPV4_FRAME, 0);
    counters.addDrop(INBOUND, spoofedSource, 70);
    await until('it is told', () => told.length === 1);
    t.same(told, [
      { reason: 'spoofedSource', frames: 70, outerSource: '192.0.2.7', innerSource: '10.9.8.7' },
    ]);

    for (const more of [1, 2]) {
      counters.addDrop(INBOUND, spoofedSource, more);
      await until('it is told again', () => told.length === 1 + more);
    }
    counters.addDrop(INBOUND, spoofedSource, 4);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    t.same(
      told.map(({ frames }) => frames),
      [70, 1, 2],
      'a fourth within seconds is kept back, and counted for later',
    );
  },
);

t.test('what the kernel refused is told with the last sender', async (t) => {
  const told: Refusal[] = [];
  const watch = new RefusalWatch({
    underlay: 4,
    counters: [],
    suspects: [],
    filtered: () => ({ datagrams: 12, lastSource: '198.51.100.9' }),
    onRefusal: (refusal) => told.push(refusal),
  });
  t.teardown(() => watch.close());
  await until('it is told', () => told.length > 0);
  const expected = { reason: 'unknownPeer', frames: 12, outerSource: '198.51.100.9', innerSource: undefined };
  t.same(told, [expected]);
});

t.test('a flood of strangers does not keep a peer that lies out of the log', async (t) => {
  const { counters, note } = lane();
  const told: Refusal[] = [];
  let datagrams = 0;
  const watch = new RefusalWatch({
    underlay: 4,
    counters: [counters],
    suspects: [note],
    filtered: () => ({ datagrams: (datagrams += 1000), lastSource: '198.51.100.9' }),
    onRefusal: (refusal) => told.push(refusal),
  });
  t.teardown(() => watch.close());
  const ofReason = (reason: string): Refusal[] => told.filter((each) => each.reason === reason);
  await until('the first few', () => ofReason('unknownPeer').length === 3);
  note.write(spoofedSource, false, OUTER, 0, IPV4_FRAME, 0);
  counters.addDrop(INBOUND, spoofedSource, 1);
  note.write(unknownPeer, false, parseAddress('192.0.2.99').words, 0, IPV6_FRAME, 0);
  await until('the peer is told', () => ofReason('spoofedSource').length === 1);
  const peer = { reason: 'spoofedSource', frames: 1, outerSource: '192.0.2.7', innerSource: '10.9.8.7' };
  t.same(ofReason('spoofedSource'), [peer]);
});
