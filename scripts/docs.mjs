// npm run docs: writes what can be read out of the code into the documentation.
//
//   node scripts/docs.mjs           rewrites docs/counters.md, docs/metrics.md, and the option table of README.md
//   node scripts/docs.mjs --check   writes nothing; ends with 1 and says which file is stale
//
// Drop reasons come from the library, options from the daemon, fields of stats() from the types and their doc comments.
// What code cannot tell (drawings, symptoms) is in the templates below, and is held against it: a reason that stands in no
// drawing, a field without a description or a symptom about a counter that does not exist ends the run.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

import { environmentNames } from '../dist/src/cli/option_table.js';
import { RUN_OPTIONS } from '../dist/src/cli/run_options.js';
import { DROP_REASONS, METRICS } from '../dist/src/index.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

// ------------------------------------------------------------------------------------------------------ templates

/** Reasons stand where they are decided; `*` marks those that the sender is told about by ICMP. */
const DRAWINGS = {
  outbound: `
 pods, this host
   |
   v
 TUN queue -----------------------> kernel.tunQueueOverflow     full before the lane read it: never seen by selvage
   |
   |  native tunRecv
   v
 framesReceived
   |
   +-- segmentation fields -------> badGso
   +-- IP header -----------------> truncated  badVersion  ipv4NotCarried  ipv6NotCarried  badHeaderLength
   |                                badChecksum
   +-- addresses -----------------> martian  notUnicast
   +-- route ---------------------> noRoute *  localDestination *
   +-- TTL, hop limit ------------> ttlExceeded *
   +-- size ----------------------> tooBig *
   |
   |  native udpSend
   v
 UDP socket ----------------------> sendBufferFull  underlayUnreachable  sendRefused  underlayTooBig  sendFailed
   |
   v
 framesSent, peers[].framesOut

 * answered by ICMP into TUN: answersSent, answersSuppressed, answersLost of outbound`,
  inbound: `
 underlay
   |
   v
 filter on the socket ------------> kernel.strangersRefused     the sender is no peer: no frame yet
   |
   v
 UDP socket ----------------------> kernel.udpReceiveOverflow   receive buffer full: never seen by selvage
   |
   |  native udpRecv
   v
 framesReceived
   |
   +-- segmentation fields -------> badGso
   +-- IP header -----------------> truncated  badVersion  ipv4NotCarried  ipv6NotCarried  badHeaderLength
   |                                badChecksum
   +-- addresses -----------------> martian  notUnicast
   +-- sender --------------------> unknownPeer  spoofedSource
   +-- destination ---------------> notLocal
   +-- TTL, hop limit ------------> ttlExceeded *
   +-- outer congestion mark -----> ecnNotCapable
   |                                (accepted: peers[].framesIn)
   |  native tunSend
   v
 TUN queue -----------------------> tunWriteFailed
   |
   v
 framesSent

 * answered by ICMP to the peer: answersSent, answersSuppressed, answersLost of inbound`,
};

/** Symptom, counters to look at, what it means and what to do. Backquoted names are checked. */
const SYMPTOMS = [
  [
    'a pod gets "Destination Net Unreachable" from the `.0` address of its own subnet',
    'outbound `noRoute`',
    'No lease, or no peer in the routes file, covers the destination: `selvage lease list`, `selvage routes`.',
  ],
  [
    'a pod gets "Destination Host Unreachable" from there',
    'outbound `localDestination`',
    "The kernel routed this host's own subnet to the TUN device: the bridge that should have it is down or has no address.",
  ],
  [
    'nothing arrives; the sender counts `framesSent`',
    '`strangersRefused`, inbound `unknownPeer` at the receiver',
    'The outer source is not the public IP of any lease or peer: NAT on the way, or a host with several addresses sends from another one (`--iface`).',
  ],
  [
    'nothing arrives and the receiver counts nothing',
    '`framesReceived`, `underlayUnreachable`, `sendRefused`',
    "UDP does not get through: a firewall (the port is 8285 unless set), a wrong `publicIp`, or this host's own rules (`sendRefused`).",
  ],
  [
    'one pod is heard, another on the same host is not',
    'inbound `spoofedSource`, `notLocal`',
    'The two hosts disagree about who owns a subnet (their routes files, or one of them is cut off from etcd); or the sender masquerades pod traffic, so that its source lies outside its subnet.',
  ],
  [
    'ping works, TCP stalls',
    'outbound `tooBig`, `underlayTooBig`; `pathMtuBytes` of the peer',
    'The path takes less than the underlay interface. A limit that is shown is known, and pods are told: a sender that goes on filling `tooBig` does not listen to ICMP. Without one, see [mtu.md](mtu.md#probes).',
  ],
  [
    'TCP is slow, CPU is not full',
    '`tunQueueOverflow`, `udpReceiveOverflow`, `sendBufferFull`',
    'Frames are lost in bursts: raise `--receive-buffer` and `--send-buffer`, and read the warnings at start about granted buffers.',
  ],
  [
    'TCP is slow, one thread is at 100 %',
    '`superframesReceived` beside `rowsReceived`; `device.offloads`, `socket.gso`, `socket.gro`',
    'Rows of one frame mean that an offload is missing on the way: see [tuning.md](tuning.md). Otherwise more flows and more lanes.',
  ],
  [
    'UDP is lost under load',
    '`udpReceiveOverflow`, `tunQueueOverflow`',
    'More comes than one lane carries: larger `--receive-buffer`, more `--lanes`.',
  ],
  [
    'traceroute shows stars at the overlay hop',
    '`answersSuppressed`, `answersLost`',
    'The ICMP limit (1000 a second and lane, 50 at once) was reached. If neither rises: a warning at start said that `accept_local` could not be set, and the kernel drops the answers ([errors.md](errors.md)).',
  ],
  [
    'steady `ttlExceeded` without traceroute',
    '`ttlExceeded`',
    'Senders with a small TTL. selvage takes one from it at each end and each host kernel takes one, so pod to pod uses up four.',
  ],
  [
    'steady `martian` or `notUnicast`',
    'outbound `martian`, `notUnicast`',
    'Pods send multicast (mDNS), broadcast or link-local packets into the overlay, or the kernel looks for IPv6 routers on the device; the overlay carries none of them. Harmless.',
  ],
  [
    'steady `ipv6NotCarried`',
    '`ipv6NotCarried`',
    'An IPv6 route leads into the TUN device, or a peer sends IPv6, and this host has no IPv6 subnet: the network has none (`EnableIPv6`), or the lease is older than it.',
  ],
  ['steady `ipv4NotCarried`', '`ipv4NotCarried`', 'The same of IPv4, in a network of IPv6 only.'],
  [
    'TCP without ECN is slow, and inbound `ecnNotCapable` rises',
    'inbound `ecnNotCapable`',
    'Datagrams come with a congestion mark that the packet inside cannot carry, and are dropped (RFC 6040 section 4.2). selvage sends those without ECN as such, and a router may not mark them: something on the way sets both ECN bits though it should not, or a peer does.',
  ],
  [
    '`badChecksum`, `truncated`, `badVersion` inbound',
    '`badChecksum`, `truncated`, `badVersion`, `badHeaderLength`',
    'Something else speaks to the port, or a peer wraps its packets differently (encryption, another header): see [wire-format.md](wire-format.md).',
  ],
  [
    'the device was set down',
    'inbound `tunWriteFailed`',
    'The kernel refuses frames on a device that is down, and has removed its route: start selvage again.',
  ],
  [
    'a lane keeps starting again',
    '`lanes[].restarts`',
    'A fault in selvage or the kernel: the log line "a lane died" has the error. The other lanes go on.',
  ],
];

/** Fields whose names say it in the code; every other one has a doc comment there. */
const FIELD_NOTES = {
  'outbound.framesReceived': 'Frames that came in: read from TUN (outbound), or out of datagrams (inbound).',
  'outbound.bytesReceived': 'Bytes of those.',
  'outbound.framesSent': 'Frames that left: as datagrams (outbound), or written to TUN (inbound).',
  'outbound.rowsSent': 'Rows that left, whole or in part.',
  'outbound.superframesSent': 'Of those, rows of two or more frames.',
  'outbound.drops':
    'Frames that ended here, by reason: see below. Every reason is present, in both directions.',
  'device.name': 'Name of the TUN device.',
  'device.mtuBytes': 'Largest inner packet.',
  'device.offloads': 'What the kernel took of `checksum`, `tso4`, `tso6`, `tsoEcn`, `uso`.',
  'socket.address': 'Underlay address that is bound.',
  'socket.port': 'UDP port that is bound.',
  'socket.gso': 'Whether sends were segmented by the kernel when the forwarder started (UDP_SEGMENT).',
  'socket.gro': 'Whether receives return trains (UDP_GRO): one lane only.',
  'socket.receiveBufferBytes': 'Granted to each lane.',
  'socket.sendBufferBytes': 'Granted to each lane.',
  'routes.count': "Routes in force, this host's own subnet not counted.",
  'routes.generation': 'Number of the newest route table.',
  'lanes[].lane': '0 and up.',
  'lanes[].running': 'Whether it forwards now.',
  'peers[].port': 'UDP port of its endpoint: a host with two ports is two peers here.',
  'peers[].framesOut': 'Frames that left for the peer.',
  'peers[].bytesOut': 'Bytes of those.',
  'peers[].bytesIn': 'Bytes of those.',
};

/** What the value of an option is measured in, by the name it has in the help. */
const UNITS = {
  ADDRESS: 'IP address',
  BYTES: 'bytes',
  CLASS: '`copy`, `zero`',
  DIRECTORY: 'path',
  FAMILY: '`auto`, `ipv4`, `ipv6`',
  FILE: 'path',
  'FILE:LINE': 'place',
  FORMAT: 'format',
  LEVEL: 'level',
  MINUTES: 'minutes',
  MODE: '`strict`, `peer`, `off`',
  N: 'number',
  NAME: 'name',
  'NAME|ADDRESS': 'name or address',
  PASSWORD: 'text',
  PATH: 'path',
  PATTERNS: 'patterns',
  PORT: 'port',
  PREFIX: 'text',
  REGEX: 'regular expression',
  SECONDS: 'seconds',
  URL: 'URL',
  'URL,...': 'URLs',
};

/** Options that a running daemon reads again. */
const RELOADED = { routes: 'its content, watched' };

// ---------------------------------------------------------------------------------------------------- fields

/** Members of the interfaces of a source file: name -> [{ name, doc, members }]. */
function interfacesOf(path) {
  const source = ts.createSourceFile(path, readFileSync(ROOT + path, 'utf8'), ts.ScriptTarget.Latest, true);
  const members = (nodes) =>
    nodes.filter(ts.isPropertySignature).map((node) => ({
      name: node.name.getText(source),
      doc: docOf(node),
      members: node.type && ts.isTypeLiteralNode(node.type) ? members(node.type.members) : [],
    }));
  const declarations = source.statements.filter(ts.isInterfaceDeclaration);
  return new Map(declarations.map((node) => [node.name.text, members(node.members)]));
}

/** The doc comment of a member on one line, without link markup. */
function docOf(node) {
  const comment = ts.getTextOfJSDocComment(ts.getJSDocCommentsAndTags(node)[0]?.comment) ?? '';
  return comment.replace(/\{@link (\w+)\}/g, '`$1`').replace(/\s+/g, ' ');
}

/** Every field of stats() as `path` and `text`, in the order of the types. */
function statsFields() {
  const counters = interfacesOf('src/workers/counters.ts');
  const stats = interfacesOf('src/workers/forwarder_stats.ts');
  const fields = [];
  const add = (prefix, { name, doc, members }) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    if (members.length > 0) members.forEach((member) => add(path, member));
    else if (path !== 'lanes' && path !== 'peers') fields.push({ path, text: describe(path, doc) });
  };
  stats.get('ForwarderStats').forEach((member) => add('', member));
  counters.get('DirectionCounters').forEach((member) => add('outbound', member));
  stats.get('LaneStats').forEach((member) => add('lanes[]', member));
  [...stats.get('PeerStats'), ...counters.get('PeerCounters')].forEach((member) => add('peers[]', member));
  const paths = new Set(fields.map(({ path }) => path));
  const stray = Object.keys(FIELD_NOTES).find((path) => !paths.has(path));
  if (stray !== undefined) throw new Error(`FIELD_NOTES describes ${stray}, which stats() does not have`);
  return fields;
}

function describe(path, doc) {
  const note = FIELD_NOTES[path];
  if (doc === '' && note === undefined) {
    throw new Error(`${path} has no doc comment in its source and no entry in FIELD_NOTES`);
  }
  if (doc !== '' && note !== undefined)
    throw new Error(`${path} is described twice: drop its entry in FIELD_NOTES`);
  return note ?? doc;
}

// ------------------------------------------------------------------------------------------------------ checks

/** Each drawing holds every reason of its direction, and no other. */
function requireWholeDrawings() {
  for (const [direction, drawing] of Object.entries(DRAWINGS)) {
    for (const { name, directions } of DROP_REASONS) {
      const drawn = new RegExp(`\\b${name}\\b`).test(drawing);
      if (drawn === directions.includes(direction)) continue;
      throw new Error(
        `the ${direction} drawing ${drawn ? 'has' : 'lacks'} ${name}: see directions in drop_reason.ts`,
      );
    }
  }
}

/** The counters that a symptom names exist. */
function requireKnownCounters(fields) {
  const known = new Set(DROP_REASONS.map(({ name }) => name));
  for (const { path } of fields) {
    known.add(path);
    known.add(path.split('.').at(-1));
  }
  for (const [symptom, counters] of SYMPTOMS) {
    for (const [, name] of counters.matchAll(/`([\w[\].]+)`/g)) {
      if (!known.has(name)) throw new Error(`the symptom "${symptom}" names ${name}, which is no counter`);
    }
  }
}

// ------------------------------------------------------------------------------------------------------- pages

function countersPage() {
  const fields = statsFields();
  requireWholeDrawings();
  requireKnownCounters(fields);
  const row = (cells) => `| ${cells.join(' | ')} |`;
  const group = (prefix) => fields.filter(({ path }) => path.startsWith(`${prefix}.`));
  const fieldRows = (list) => list.map(({ path, text }) => row([`\`${path}\``, text]));
  const reasonRows = DROP_REASONS.map(({ code, name, directions, sentence }) =>
    row([code, `\`${name}\``, directions.join(', '), sentence]),
  );
  const state = ['device', 'socket', 'routes', 'kernel'].flatMap(group);
  return `# Counters

<!-- Written by scripts/docs.mjs out of the code: change it there, then run npm run docs. -->

What \`forwarder.stats()\` returns and what \`selvage run\` logs and \`selvage status --json\` has under \`forwarder\`: at SIGUSR2, every \`--stats-interval\` seconds, and when it stops.

- *Frames* are wire-sized: a superframe of 44 segments counts 44. *Rows* are what one decision was made on: a frame or a superframe.
- *Bytes* are those of the rows: a superframe's headers count once, though each of its segments carries them on the wire.
- Each number is at most one burst old. Once traffic pauses, in each direction:
  \`framesReceived = framesSent + the sum of drops\`, but for the burst that a lane held when it died. ICMP answers of
  selvage's own are in neither.
- Counters start at 0 with the forwarder and never go back; a lane that is started again goes on counting.

## The path, with each reason at its place

Outbound, from TUN to UDP:

\`\`\`text${DRAWINGS.outbound}
\`\`\`

Inbound, from UDP to TUN:

\`\`\`text${DRAWINGS.inbound}
\`\`\`

## By symptom

| symptom | look at | what it means, what to do |
|---|---|---|
${SYMPTOMS.map(row).join('\n')}

## Drop reasons

Each lost frame has exactly one. Numbers are stable; new reasons go to the end.

| number | \`drops.\` | direction | meaning |
|---:|---|---|---|
${reasonRows.join('\n')}

## Fields

\`outbound\` and \`inbound\` have the same fields; so have \`lanes[].outbound\` and \`lanes[].inbound\`.

| field | meaning |
|---|---|
${fieldRows(group('outbound')).join('\n')}

| field | meaning |
|---|---|
${fieldRows(state).join('\n')}

| field | meaning |
|---|---|
${fieldRows([...group('lanes[]'), ...group('peers[]')]).join('\n')}
`;
}

function metricsPage() {
  const rows = METRICS.map(({ name, type, labels, help }) => {
    const cells = [`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(', '), help];
    return `| ${cells.join(' | ')} |`;
  });
  return `# Metrics

<!-- Written by scripts/docs.mjs out of the code: change it there, then run npm run docs. -->

\`/metrics\` in the text format of Prometheus, on \`--healthz-ip\` and \`--healthz-port\` and on the control socket.

- Totals begin at 0 with the forwarder: at a start, and when the host moved to another subnet.
- What cannot be told is left out rather than 0: the data path's while there is no forwarder, the store's with a routes file.
- Frames are wire-sized, as in [counters.md](counters.md), where the reasons are explained.
- Beside these there are prom-client's own of the process and of Node: \`process_...\`, \`nodejs_...\`.

| metric | type | labels | meaning |
|---|---|---|---|
${rows.join('\n')}
`;
}

/** The README with the table between the markers made anew. */
function readmePage(text) {
  const [begin, end] = ['<!-- options:begin -->', '<!-- options:end -->'];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`README.md lacks ${begin} and ${end}`);
  return `${text.slice(0, from + begin.length)}\n${optionTable()}\n${text.slice(to)}`;
}

function optionTable() {
  const rows = RUN_OPTIONS.flatMap((option, at) => [
    ...(option.heading === RUN_OPTIONS[at - 1]?.heading ? [] : [`| **${option.heading}** | | | | | |`]),
    optionRow(option),
  ]);
  return [
    '| option | unit | default | environment variable | reloadable | meaning |',
    '|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

function optionRow(option) {
  const { name, value, fallback, help, repeatable, commandLineOnly } = option;
  if (value !== undefined && !(value in UNITS))
    throw new Error(`UNITS does not say what ${value} of --${name} is`);
  const inHelp = /\s*\[(.*)\]$/.exec(help);
  const meaning = inHelp === null ? help : help.slice(0, inHelp.index);
  const preset = fallback === undefined ? (inHelp?.[1] ?? '') : `\`${fallback}\``;
  const variables = environmentNames(option).map((variable) => `\`${variable}\``);
  const reload = commandLineOnly ? '' : (RELOADED[name] ?? 'no');
  const cells = [
    `\`--${name}\``,
    value === undefined ? 'switch' : UNITS[value],
    preset,
    variables.join(', '),
    reload,
    repeatable ? `${meaning}; may be repeated` : meaning,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

const check = process.argv.includes('--check');
const read = (path) => {
  try {
    return readFileSync(ROOT + path, 'utf8');
  } catch {
    return '';
  }
};
const pages = [
  ['docs/counters.md', countersPage],
  ['docs/metrics.md', metricsPage],
  ['README.md', readmePage],
];
for (const [path, make] of pages) {
  const before = read(path);
  const after = make(before);
  if (after === before) continue;
  if (check) {
    console.error(`${path} is stale: run npm run docs`);
    process.exitCode = 1;
  } else {
    writeFileSync(ROOT + path, after);
    console.log(`wrote ${path}`);
  }
}
