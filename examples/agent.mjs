// A whole member of a network inside your own program, with a store of your own; here one in memory, that two hosts could share.
// Run it as root in a namespace of its own, so that nothing else notices:
//
//   unshare -n sh -c 'ip link set lo up && node examples/agent.mjs'
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createAgent, MemorySpace, MemoryStore } from 'selvage';

const space = new MemorySpace();
space.put('config', '{"Network":"10.1.0.0/16"}', 0); // 0: for ever
space.put('subnets/10.1.2.0-24', '{"PublicIP":"192.0.2.2","PublicIPv6":null}', 86_400); // another host

const agent = await createAgent({
  source: { kind: 'store', store: new MemoryStore(space), networkName: 'example' },
  underlay: { iface: ['127.0.0.1'] }, // default: the interface of the default route
  publicIp: '192.0.2.1', // what others send to; default: the address of that interface
  forwarder: { tunName: 'example0', mtuBytes: 1472 },
  stateDirectory: join(tmpdir(), 'selvage-example'), // host id and last routes, for the next start
});
agent.on('warning', (message) => console.warn(message));
agent.on('lease', (event) => console.log(`lease: ${event.kind}`));
agent.on('fatal', (error) => console.error(error.message));
await agent.start(); // waits for the store and the network config, if it has to

const { network, health } = agent.status();
console.log(`${network.subnet} of ${network.network} is ours, health ${health.status}`);
console.log(`${agent.stats().routes.count} route`);

await agent.close(); // the device is gone; the lease stays for the next start
console.log('closed');
