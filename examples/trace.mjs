// Frames with their verdicts, as they pass. Run it as root in a namespace of its own, so that nothing else notices:
//
//   unshare -n sh -c 'ip link set lo up && node examples/trace.mjs'
import { createSocket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';

import { createForwarder } from 'selvage';

const forwarder = await createForwarder({
  network: '10.9.0.0/16',
  subnet: '10.9.1.0/24',
  address: '127.0.0.1',
  tunName: 'example0',
  mtuBytes: 1472,
});
forwarder.on('warning', (message) => console.warn(message));
forwarder.routes.replace([{ prefix: '10.9.2.0/24', nextHop: '127.0.0.2' }]);
await forwarder.settled();

const filter = { host: '10.9.0.0/16', protocol: 17, recordsPerSecond: 100 };
const trace = forwarder.trace(filter, {
  onRecord: ({ direction, flow, lengthBytes, nextHop, reason }) => {
    const verdict = reason === null ? `to ${nextHop.address}` : `dropped: ${reason}`;
    console.log(`${direction} ${flow.source} > ${flow.destination}, ${lengthBytes} bytes, ${verdict}`);
  },
  onTotals: () => undefined,
  onEnd: () => console.log('the trace is over'),
});

// Two packets of this host: one subnet has a route, the other has none.
const socket = createSocket('udp4');
socket.on('error', () => undefined); // "net unreachable", from the second
for (const address of ['10.9.2.2', '10.9.9.9']) {
  await new Promise((resolve) => socket.send('hello', 4000, address, resolve));
}
await sleep(100);

const { matched, shown } = await trace.close(); // exact: what was recorded is shown first
console.log(`${shown} of ${matched} shown`);
socket.close();
await forwarder.close();
