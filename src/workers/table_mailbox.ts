import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';

import { RouteTable } from '../routing/route_table.js';

/**
 * Takes the newest route table out of a lane's port, without the event loop: a lane never returns to it.
 *
 * The main thread posts a table and then announces its generation, so a lane that reads an announcement finds the table
 * here, unless it took it before. Older tables in the port are passed over.
 *
 * @returns undefined when the port is empty
 */
export function takeTable(port: MessagePort): RouteTable | undefined {
  let newest: SharedArrayBuffer | undefined;
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: SharedArrayBuffer } | undefined;
    if (received === undefined) return newest === undefined ? undefined : new RouteTable(newest);
    newest = received.message;
  }
}
