import t from 'tap';

import { isGroupDestination, isMartianDestination, isMartianSource } from '../../src/encap/address_class.js';
import { parseIpv4 } from '../../src/prefix.js';

const rows: readonly {
  name: string;
  addresses: readonly string[];
  martianSource: boolean;
  martianDestination: boolean;
  group: boolean;
}[] = [
  {
    name: 'unicast passes',
    addresses: ['1.0.0.0', '10.1.2.3', '126.255.255.255', '128.0.0.0', '169.253.255.255', '169.255.0.0', '223.255.255.255'],
    martianSource: false,
    martianDestination: false,
    group: false,
  },
  {
    name: '"this network" goes nowhere',
    addresses: ['0.0.0.0', '0.255.255.255'],
    martianSource: true,
    martianDestination: true,
    group: false,
  },
  {
    name: 'loopback stays in its host',
    addresses: ['127.0.0.0', '127.0.0.1', '127.255.255.255'],
    martianSource: true,
    martianDestination: true,
    group: false,
  },
  {
    name: 'link-local stays on its link',
    addresses: ['169.254.0.0', '169.254.169.254', '169.254.255.255'],
    martianSource: true,
    martianDestination: true,
    group: false,
  },
  {
    name: 'multicast is a destination, never a source',
    addresses: ['224.0.0.0', '224.0.0.1', '239.255.255.255'],
    martianSource: true,
    martianDestination: false,
    group: true,
  },
  {
    name: 'class E is neither',
    addresses: ['240.0.0.0', '255.255.255.254'],
    martianSource: true,
    martianDestination: true,
    group: false,
  },
  {
    name: 'the limited broadcast is a destination, never a source',
    addresses: ['255.255.255.255'],
    martianSource: true,
    martianDestination: false,
    group: true,
  },
];

for (const { name, addresses, martianSource, martianDestination, group } of rows) {
  t.test(name, async (t) => {
    for (const address of addresses) {
      t.equal(isMartianSource(parseIpv4(address)), martianSource, `${address} as a source`);
      t.equal(isMartianDestination(parseIpv4(address)), martianDestination, `${address} as a destination`);
      t.equal(isGroupDestination(parseIpv4(address)), group, `${address} as a group`);
    }
  });
}
