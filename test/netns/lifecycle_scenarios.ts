/**
 * What `lifecycle.test.ts` runs in a network namespace of its own: `node lifecycle_scenarios.js NAME`. Each scenario embeds
 * the library, as another daemon would, and prints one line of JSON.
 *
 * The far end of the overlay is a plain UDP socket of this process, so that one namespace is enough:
 *
 *   client socket -> sv0 -> forwarder -> 127.0.0.1:PORT ---> 127.0.0.2:8285 far end
 */
import { execFileSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';

import { createForwarder, type Forwarder, type ForwarderOptions } from '../../src/index.js';
import { formatIpv4 } from '../../src/ipv4_prefix.js';
import { innerFrame } from '../unit/inner_frame.js';

const DEADLINE_MILLIS = 20_000;

/** Every worker thread that this process starts, so that a scenario can kill one as a crash would. */
const workers: Worker[] = [];

function recordWorkers(): void {
  const threads = createRequire(import.meta.url)('node:worker_threads') as { Worker: typeof Worker };
  const Original = threads.Worker;
  threads.Worker = class extends Original {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      super(...args);
      workers.push(this);
    }
  };
  syncBuiltinESMExports();
}

function options(number: number, more: Partial<ForwarderOptions> = {}): ForwarderOptions {
  return {
    network: `10.8${number}.0.0/16`,
    subnet: `10.8${number}.1.0/24`,
    address: '127.0.0.1',
    port: 0,
    tunName: `sv${number}`,
    mtuBytes: 1400,
    ...more,
  };
}

async function open(number: number, more: Partial<ForwarderOptions> = {}): Promise<Forwarder> {
  const forwarder = await createForwarder(options(number, more));
  forwarder.routes.set({ prefix: `10.8${number}.2.0/24`, nextHop: '127.0.0.2', port: 8285 });
  await forwarder.settled();
  return forwarder;
}

async function bound(address: string, port: number): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(port, address);
  await once(socket, 'listening');
  return socket;
}

/** Whether a datagram to the overlay reaches the far end before the deadline; sends until it does. */
async function outboundWorks(farEnd: Socket, number: number): Promise<boolean> {
  const client = createSocket('udp4');
  const destination = `10.8${number}.2.7`;
  const arrived = new Promise<true>((resolve) => {
    const onMessage = (frame: Buffer): void => {
      if (formatIpv4(frame.readInt32BE(16)) !== destination) return;
      farEnd.off('message', onMessage);
      resolve(true);
    };
    farEnd.on('message', onMessage);
  });
  const timer = setInterval(() => client.send('hello', 9, destination), 20);
  const result = await Promise.race([arrived, sleep(DEADLINE_MILLIS, false, { ref: false })]);
  clearInterval(timer);
  client.close();
  return result;
}

/** Whether a datagram from the far end reaches a socket on the device's address. */
async function inboundWorks(farEnd: Socket, forwarder: Forwarder, number: number): Promise<boolean> {
  const server = await bound(`10.8${number}.1.0`, 0);
  const arrived = once(server, 'message').then(() => true);
  const udp = Buffer.alloc(12);
  udp.writeUInt16BE(1000, 0);
  udp.writeUInt16BE(server.address().port, 2);
  udp.writeUInt16BE(udp.length, 4);
  const frame = innerFrame({ source: `10.8${number}.2.7`, destination: `10.8${number}.1.0`, payload: udp });
  const timer = setInterval(() => farEnd.send(frame, forwarder.port, '127.0.0.1'), 20);
  const result = await Promise.race([arrived, sleep(DEADLINE_MILLIS, false, { ref: false })]);
  clearInterval(timer);
  server.close();
  return result;
}

async function until(condition: () => boolean): Promise<boolean> {
  const deadline = Date.now() + DEADLINE_MILLIS;
  while (!condition()) {
    if (Date.now() > deadline) return false;
    await sleep(5);
  }
  return true;
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
const devices = (): string[] =>
  readdirSync('/proc/self/net/dev_snmp6').filter((name) => name.startsWith('sv'));

const SCENARIOS: Record<string, () => Promise<unknown>> = {
  /** Two forwarders in one process, each with traffic in both directions; one closes, the other goes on. */
  'embedded-twice': async () => {
    const farEnd = await bound('127.0.0.2', 8285);
    const first = await open(1);
    const second = await open(2, { lanes: 2 });
    const works = async (forwarder: Forwarder, number: number): Promise<boolean> =>
      (await outboundWorks(farEnd, number)) && (await inboundWorks(farEnd, forwarder, number));
    const both = [await works(first, 1), await works(second, 2)];
    await first.close();
    const afterFirstClosed = await works(second, 2);
    const { lanes, peers } = second.stats();
    await second.close();
    farEnd.close();
    return { both, afterFirstClosed, lanes: lanes.length, peers };
  },

  /** A lane's thread dies; the supervisor starts it again with the routes of the moment. */
  crash: async () => {
    recordWorkers();
    const farEnd = await bound('127.0.0.2', 8285);
    const forwarder = await open(1, { lanes: 2 });
    const down: number[] = [];
    forwarder.on('laneDown', (lane) => down.push(lane));
    const before = await outboundWorks(farEnd, 1);
    await Promise.all(workers.map((worker) => worker.terminate()));
    const bothDown = await until(() => down.length === 2);
    forwarder.routes.set({ prefix: '10.81.3.0/24', nextHop: '127.0.0.3' });
    await forwarder.settled();
    const after = await outboundWorks(farEnd, 1);
    const { lanes, routes } = forwarder.stats();
    await forwarder.close();
    farEnd.close();
    const observedNewest = lanes.every((lane) => lane.generation === routes.generation);
    return { before, bothDown, after, restarts: lanes.map((lane) => lane.restarts), observedNewest };
  },

  /** close() can be called any number of times, at once and later, and leaves nothing. */
  'double-close': async () => {
    const forwarder = await open(1);
    let closed = 0;
    forwarder.on('close', () => closed++);
    await Promise.all([forwarder.close(), forwarder.close()]);
    await forwarder.close();
    return { closed, devices: devices() };
  },

  /** Descriptors do not leak over many lives, nor over starts that fail half way. */
  'fd-leak': async () => {
    await (await open(1)).close(); // whatever the first use opens for good
    const before = openDescriptors();
    for (let i = 0; i < 8; i++) await (await open(1, { lanes: 2 })).close();
    const blocker = await open(1);
    const failures: string[] = [];
    for (let i = 0; i < 8; i++) {
      await createForwarder(options(1)).catch((error: Error) =>
        failures.push((error as { code?: string }).code ?? ''),
      );
      await createForwarder(
        options(3, { network: '127.0.0.0/8', subnet: '127.9.0.0/16', mtuBytes: 70_000 }),
      ).catch((error: Error) => failures.push((error as { code?: string }).code ?? ''));
      await createForwarder(options(4, { port: blocker.port })).catch((error: Error) =>
        failures.push((error as { code?: string }).code ?? ''),
      );
    }
    await blocker.close();
    return {
      leaked: openDescriptors() - before,
      failures: [...new Set(failures)].sort(),
      devices: devices(),
    };
  },

  /** Many changes, each of which makes a table of more than 256 KiB. */
  'many-changes': async () => {
    const forwarder = await open(1, { lanes: 2 });
    const change = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) {
        forwarder.routes.set({ prefix: '10.81.3.0/24', nextHop: `127.0.0.${1 + (i % 2)}` });
        await forwarder.settled();
      }
    };
    await change(50);
    const before = process.memoryUsage.rss();
    await change(1000);
    const grownMebibytes = (process.memoryUsage.rss() - before) / 1024 / 1024;
    await forwarder.close();
    return { grownMebibytes };
  },

  /** close() in the middle of the start of many lanes, whose threads are still loading. */
  'close-during-start': async () => {
    const forwarder = await createForwarder(options(1, { lanes: 8 }));
    await forwarder.close();
    return { devices: devices() };
  },

  /** The device is deleted, and the listener that is told throws: close() still gives everything back. */
  'device-gone': async () => {
    await (await open(1)).close();
    const before = openDescriptors();
    const forwarder = await open(1, { lanes: 2 });
    const uncaught = once(process, 'uncaughtException').then(([error]) => (error as Error).message);
    let told = '';
    forwarder.on('fatal', (error) => {
      told = (error as { code?: string }).code ?? '';
      throw new Error('a listener that throws');
    });
    execFileSync('ip', ['link', 'delete', 'sv1']);
    const thrown = await uncaught;
    const running = (): boolean => forwarder.stats().lanes.some((lane) => lane.running);
    const allStopped = await until(() => !running());
    const settled = await forwarder.settled().catch((error: Error) => (error as { code?: string }).code);
    await forwarder.close();
    return { told, thrown, allStopped, settled, leaked: openDescriptors() - before };
  },

  /** A change that cannot be published leaves the routes as they were; after close() there is nothing to change. */
  'refused-changes': async () => {
    const forwarder = await open(1);
    const before = { list: forwarder.routes.list(), routes: forwarder.stats().routes.count };
    const scattered = Array.from({ length: 300_000 }, (_, i) => ({
      prefix: formatIpv4((Math.imul(i + 1, 0x9e3779b1) & 0x3fffffff) | 0x40000000) + '/32',
      nextHop: '198.18.0.1',
    }));
    const codes: unknown[] = [];
    const attempt = (change: () => unknown): void => {
      try {
        change();
        codes.push('done');
      } catch (error) {
        codes.push((error as { code?: string }).code);
      }
    };
    attempt(() =>
      forwarder.routes.replace([...new Map(scattered.map((route) => [route.prefix, route])).values()]),
    );
    const after = { list: forwarder.routes.list(), routes: forwarder.stats().routes.count };
    attempt(() => forwarder.routes.set({ prefix: '10.81.9.0/24', nextHop: '127.0.0.9' }));
    await forwarder.close();
    attempt(() => forwarder.routes.set({ prefix: '10.81.9.0/24', nextHop: '127.0.0.9' }));
    return { codes, unchanged: JSON.stringify(before) === JSON.stringify(after) };
  },

  /** Options that do not fit are refused by name, before anything is opened. */
  'bad-options': async () => {
    const bad: object[] = [
      { laness: 3 },
      { sourceCheck: 'toString' },
      { offload: 'no' },
      { lanes: 0 },
      { mtuBytes: 67 },
      { tunName: 'a name' },
      { subnet: '10.99.0.0/24' },
      { network: '10.81.0.1/16' },
    ];
    const messages: string[] = [];
    for (const more of bad) {
      await createForwarder(options(1, more)).catch((error: Error) =>
        messages.push(error.message.split(':')[0]!),
      );
    }
    return { messages, devices: devices() };
  },

  /** process.exit() while a lane sleeps in a native call. */
  exit: async () => {
    await open(1, { lanes: 2 });
    print({ exiting: true });
    process.exit(7);
  },

  /** An error that nobody catches, while a lane sleeps in a native call. */
  throw: async () => {
    await open(1);
    print({ throwing: true });
    setTimeout(() => {
      throw new Error('nobody catches this');
    }, 10);
    await sleep(DEADLINE_MILLIS);
    return {};
  },

  /** 65,536 routes published while frames flow: no lane stops, and the newest table is in force afterwards. */
  'many-routes': async () => {
    const farEnd = await bound('127.0.0.2', 8285);
    const forwarder = await open(1);
    const routes = Array.from({ length: 65_536 }, (_, i) => ({
      prefix: `100.${64 + (i >> 14)}.${(i >> 6) & 255}.${(i & 63) * 4}/30`,
      nextHop: `198.18.${i >> 8}.${i & 255}`,
    }));
    const own = { prefix: '10.81.2.0/24', nextHop: '127.0.0.2', port: 8285 };
    forwarder.routes.replace([...routes, own]);
    await forwarder.settled();
    const works = await outboundWorks(farEnd, 1);
    const { count, generation } = forwarder.stats().routes;
    const observed = forwarder.stats().lanes[0]!.generation === generation;
    await forwarder.close();
    farEnd.close();
    return { works, count, observed };
  },
};

function print(result: unknown): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const scenario = SCENARIOS[process.argv[2] ?? ''];
if (scenario === undefined) throw new Error(`one of ${Object.keys(SCENARIOS).join(', ')}`);
print(await scenario());
