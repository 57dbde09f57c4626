import { constants } from 'node:os';

import t from 'tap';

import { countOutboundSent, decideOutbound } from '../../src/workers/outbound.js';
import { innerFrame } from './inner_frame.js';
import { burstOf, sampleLane } from './lane_fixture.js';

const { EMSGSIZE } = constants.errno;
const DONT_FRAGMENT = 0x4000;

t.test('fragments that are refused as too large teach the path MTU as whole frames do', (t) => {
  let known = 1000;
  const lane = sampleLane({ askPathMtu: () => known });
  const refuse = (fragment: number): void => {
    const burst = burstOf([{ frame: innerFrame({ payload: new Uint8Array(1400), fragment }) }]);
    decideOutbound(burst, 1, lane);
    burst.lost[0] = 1;
    burst.lostErrno[0] = EMSGSIZE;
    countOutboundSent(burst, 1, lane, true);
  };
  refuse(DONT_FRAGMENT);
  t.equal(lane.paths.limit(1), 1000, 'a whole frame');
  t.equal(lane.answers.count, 1, 'whose sender is told');
  known = 900;
  refuse(0);
  t.equal(lane.paths.limit(1), 900, 'a frame in fragments of up to 1000 bytes');
  t.equal(lane.answers.count, 1, 'whose sender is not, as it need not change');
  known = 950;
  refuse(0);
  t.equal(lane.paths.limit(1), 900, 'what should have passed is not believed');
  t.end();
});
