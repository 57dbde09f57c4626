import t from 'tap';

import type { LeaseSubnets } from '../../src/lease/lease.js';
import { subnetsOverlap } from '../../src/lease/subnets_overlap.js';

t.test('subnets overlap when they share addresses of either family', (t) => {
  const rows: [a: string, b: string, expected: boolean][] = [
    ['10.1.2.0/24', '10.1.2.0/24', true],
    ['10.1.2.0/24', '10.1.2.128/25', true],
    ['10.1.2.0/24', '10.1.3.0/24', false],
    ['10.1.2.0/24,fd00:0:0:2::/64', '10.1.3.0/24,fd00:0:0:2::/64', true],
    ['10.1.2.0/24,fd00:0:0:2::/64', '10.1.3.0/24,fd00::/48', true],
    ['10.1.2.0/24,fd00:0:0:2::/64', '10.1.3.0/24,fd00:0:0:3::/64', false],
    ['10.1.2.0/24,fd00:0:0:2::/64', '10.1.3.0/24', false],
    ['10.1.2.0/24,fd00:0:0:2::/64', '10.1.2.0/24', true],
    [',fd00:0:0:2::/64', ',fd00::/48', true],
    [',fd00:0:0:2::/64', '10.1.2.0/24,fd00:0:0:2::/64', true],
    [',fd00:0:0:2::/64', '10.1.2.0/24', false],
  ];
  const subnetsOf = (text: string): LeaseSubnets => {
    const [ipv4 = '', ipv6] = text.split(',');
    return { ...(ipv4 === '' ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) };
  };
  for (const [a, b, expected] of rows) {
    t.equal(subnetsOverlap(subnetsOf(a), subnetsOf(b)), expected, `${a} and ${b}`);
    t.equal(subnetsOverlap(subnetsOf(b), subnetsOf(a)), expected, `${b} and ${a}`);
  }
  t.end();
});
