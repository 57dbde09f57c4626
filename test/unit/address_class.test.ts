import t from 'tap';

import { classifyAddresses, isGroupAddress, isRoutableUnicast } from '../../src/encap/address_class.js';
import { DropReason } from '../../src/encap/drop_reason.js';
import { parseIpv4 } from '../../src/ipv4_prefix.js';

const { martian, notUnicast } = DropReason;
const HOST = parseIpv4('10.1.2.3');

const rows: readonly {
  name: string;
  addresses: readonly string[];
  asSource: number;
  asDestination: number;
}[] = [
  {
    name: 'unicast passes',
    addresses: [
      '1.0.0.0',
      '10.1.2.3',
      '126.255.255.255',
      '128.0.0.0',
      '169.253.255.255',
      '169.255.0.0',
      '223.255.255.255',
    ],
    asSource: 0,
    asDestination: 0,
  },
  {
    name: '"this network" goes nowhere',
    addresses: ['0.0.0.0', '0.255.255.255'],
    asSource: martian,
    asDestination: martian,
  },
  {
    name: 'loopback stays in its host',
    addresses: ['127.0.0.0', '127.0.0.1', '127.255.255.255'],
    asSource: martian,
    asDestination: martian,
  },
  {
    name: 'link-local stays on its link',
    addresses: ['169.254.0.0', '169.254.169.254', '169.254.255.255'],
    asSource: martian,
    asDestination: martian,
  },
  {
    name: 'multicast is a destination, never a source',
    addresses: ['224.0.0.0', '224.0.0.1', '239.255.255.255'],
    asSource: martian,
    asDestination: notUnicast,
  },
  {
    name: 'class E is neither',
    addresses: ['240.0.0.0', '255.255.255.254'],
    asSource: martian,
    asDestination: martian,
  },
  {
    name: 'the limited broadcast is a destination, never a source',
    addresses: ['255.255.255.255'],
    asSource: martian,
    asDestination: notUnicast,
  },
];

for (const { name, addresses, asSource, asDestination } of rows) {
  t.test(name, (t) => {
    for (const text of addresses) {
      const address = parseIpv4(text);
      t.equal(classifyAddresses(address, HOST), -asSource, `${text} as a source`);
      t.equal(classifyAddresses(HOST, address), -asDestination, `${text} as a destination`);
      t.equal(isRoutableUnicast(address), asSource === 0, `${text} as a host`);
      t.equal(isGroupAddress(address), asDestination === notUnicast, `${text} as a group`);
    }
    t.end();
  });
}

t.test('a martian source is named before the destination', (t) => {
  t.equal(classifyAddresses(parseIpv4('127.0.0.1'), parseIpv4('224.0.0.1')), -martian);
  t.end();
});
