// A forwarder inside your own program. Run it as root in a namespace of its own, so that nothing else notices:
//
//   unshare -n sh -c 'ip link set lo up && node examples/embed.mjs'
import { createForwarder } from 'selvage';

const forwarder = await createForwarder({
  network: '10.1.0.0/16', // the overlay
  subnet: '10.1.1.0/24', // this host's part of it
  address: '127.0.0.1', // underlay address to bind; yours is that of eth0, say
  tunName: 'example0',
  mtuBytes: 1472, // default: MTU of the underlay interface - 28
});
forwarder.on('warning', (message) => console.warn(message));
forwarder.on('laneDown', (lane, error) => console.error(`lane ${lane}: ${error.message}`));
forwarder.on('fatal', (error) => console.error(error.message));

forwarder.routes.replace([
  { prefix: '10.1.2.0/24', nextHop: '192.168.100.2' },
  { prefix: '10.1.3.0/24', nextHop: '192.168.100.3' },
]);
forwarder.routes.delete('10.1.3.0/24');
await forwarder.settled(); // every lane forwards by the new routes

const { device, routes, outbound } = forwarder.stats();
console.log(`forwarding on ${device.name}, ${routes.count} route, ${outbound.framesSent} frames sent`);

await forwarder.close(); // the device is gone, with its address and route
console.log('closed');
