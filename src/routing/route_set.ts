import { messageOf, SelvageError } from '../errors.js';
import {
  formatAddress,
  type IpAddress,
  type IpFamily,
  isUnicastAddress,
  parseAddress,
} from '../ip_address.js';
import { parsePrefix, type Prefix } from '../prefix.js';
import { buildRouteTable, type TableRoute } from './build_route_table.js';
import { type Endpoint, type NextHopIdListener, NextHopIds } from './next_hop_ids.js';
import { LOCAL } from './route_table.js';

/** One route: who carries a prefix. */
export interface Route {
  /** IPv4 or IPv6 prefix in canonical spelling, e.g. `10.1.2.0/24` or `fd00:10:244:2::/64` (RFC 5952). */
  readonly prefix: string;
  /** Address of the peer's host, of the underlay's family, e.g. `192.168.100.2` or `2001:db8::2`. */
  readonly nextHop: string;
  /** UDP port of the peer, 1..65535. Default: {@link RouteSetOptions.defaultPort}. */
  readonly port?: number | undefined;
}

/** A route in force: its port is known. */
export interface RouteInForce extends Route {
  readonly port: number;
}

/** Changes of single routes that take effect together. */
export interface RouteUpdate {
  /** Prefixes that go away; those without a route are passed over. */
  readonly remove?: Iterable<string>;
  /** Routes that come, or get another next hop; done after `remove`. */
  readonly set?: Iterable<Route>;
}

/** How to make a {@link RouteSet}. */
export interface RouteSetOptions extends NextHopIdListener {
  /** UDP port of routes that name none, 1..65535; usually the port this host listens on. */
  readonly defaultPort: number;
  /** Family of the sockets, and so of every next hop. */
  readonly underlay: IpFamily;
}

interface Entry {
  readonly prefix: Prefix;
  /** Canonical text of the endpoint's address. */
  readonly nextHop: string;
  readonly endpoint: Endpoint;
  /** The endpoint's id; -1 until the route is adopted. */
  id: number;
}

/** Generations are positive int32, because lanes read them from an int32 control word. */
const LAST_GENERATION = 0x7fff_ffff;

/**
 * The routes as they are now: this host's own subnets and the peers' prefixes, each to an endpoint.
 *
 * Prefixes may nest; the longest wins. A prefix cannot be both a peer's and this host's. Main thread only; nothing reaches
 * a lane before {@link build} and the publication of its result.
 *
 * Every method either does what it says or throws a SelvageError and changes nothing.
 */
export class RouteSet {
  readonly #defaultPort: number;
  readonly #underlay: IpFamily;
  readonly #ids: NextHopIds;
  /** By canonical text; in the order of first appearance. */
  #routes = new Map<string, Entry>();
  #local = new Map<string, Prefix>();
  #generation = 0;
  /** See {@link prefixesOf}; made when it is asked for. */
  #prefixes: Map<number, Prefix[]> | undefined;
  /** Whether the set differs from the last table built. */
  #dirty = true;

  /** @throws SelvageError ERR_ROUTE_INVALID for a default port outside 1..65535 */
  constructor(options: RouteSetOptions) {
    requirePort(options.defaultPort, () => 'defaultPort');
    this.#defaultPort = options.defaultPort;
    this.#underlay = options.underlay;
    this.#ids = new NextHopIds(options);
  }

  /** Number of the last table built; 0 before the first. */
  get generation(): number {
    return this.#generation;
  }

  /** Number of routes; own subnets not counted. */
  get count(): number {
    return this.#routes.size;
  }

  /**
   * Replaces all routes, and the own subnets too when they are given; both at once, because what was a peer's prefix may
   * now be ours. An endpoint that stays keeps its id. An id freed here is not given out again in the same call.
   *
   * @throws SelvageError ERR_ROUTE_INVALID, ERR_ROUTE_DUPLICATE or ERR_ROUTE_LOCAL, naming the route by its index
   */
  replace(routes: Iterable<Route>, local?: Iterable<string>): void {
    const nextLocal = local === undefined ? this.#local : parseLocal(local);
    const entries = new Map<string, Entry>();
    let index = 0;
    for (const route of routes) {
      const entry = this.#unchanged(route) ?? this.#check(route, () => `routes[${index}].`);
      if (entries.has(route.prefix)) {
        const first = [...entries.keys()].indexOf(route.prefix);
        throw new SelvageError(
          'ERR_ROUTE_DUPLICATE',
          `routes[${first}] and routes[${index}] are both for ${route.prefix}: keep one of them`,
        );
      }
      requireNotLocal(nextLocal, route.prefix, () => `routes[${index}].prefix: `);
      entries.set(route.prefix, entry);
      index++;
    }
    this.#adopt(entries);
    this.#local = nextLocal;
    this.#dirty = true;
  }

  /**
   * Adds one route, or gives its prefix another next hop.
   *
   * @throws SelvageError ERR_ROUTE_INVALID or ERR_ROUTE_LOCAL
   */
  set(route: Route): void {
    this.update({ set: [route] });
  }

  /**
   * Removes and sets single routes. Costs what changes, not what there is.
   *
   * @throws SelvageError ERR_ROUTE_INVALID or ERR_ROUTE_LOCAL
   */
  update({ remove = [], set = [] }: RouteUpdate): void {
    const gone = [...remove];
    for (const prefix of gone) parse(prefix, nowhere, parsePrefix);
    const entries: [prefix: string, Entry][] = [];
    for (const route of set) {
      requireNotLocal(this.#local, route.prefix, nowhere);
      entries.push([route.prefix, this.#unchanged(route) ?? this.#check(route, nowhere)]);
    }
    // New uses are counted before old ones end, so that an endpoint in both keeps its id.
    for (const [, entry] of entries) entry.id = this.#ids.borrow(entry.endpoint);
    for (const prefix of gone) this.#drop(prefix);
    for (const [prefix, entry] of entries) this.#put(prefix, entry);
  }

  /**
   * Removes the route for exactly this prefix.
   *
   * @returns whether there was one
   * @throws SelvageError ERR_ROUTE_INVALID when the text is not a prefix, as it could never match
   */
  delete(prefix: string): boolean {
    parse(prefix, nowhere, parsePrefix);
    return this.#drop(prefix);
  }

  /** The routes, ports filled in, in the order their prefixes first appeared. The caller owns the array. */
  list(): RouteInForce[] {
    return Array.from(this.#routes, ([prefix, { nextHop, endpoint }]) => ({
      prefix,
      nextHop,
      port: endpoint.port,
    }));
  }

  /**
   * Replaces the prefixes that belong to this host.
   *
   * @throws SelvageError ERR_ROUTE_INVALID, or ERR_ROUTE_LOCAL when a route has one of them
   */
  setLocal(prefixes: Iterable<string>): void {
    const local = parseLocal(prefixes);
    for (const prefix of this.#routes.keys()) requireNotLocal(local, prefix, nowhere);
    this.#local = local;
    this.#dirty = true;
  }

  /** The prefixes that belong to this host. The caller owns the array. */
  listLocal(): string[] {
    return [...this.#local.keys()];
  }

  /** The endpoint that a next-hop id means now; undefined for id 0, this host, and for ids not in use. */
  endpointOf(id: number): Endpoint | undefined {
    return this.#ids.endpointOf(id);
  }

  /**
   * Makes a change and builds the table that shows it, unless nothing changed. When either fails, the set is as it was before.
   *
   * @param spare see {@link build}
   * @throws SelvageError what the change throws, or ERR_ROUTE_LIMIT
   */
  apply<T>(
    change: () => T,
    spare?: SharedArrayBuffer,
  ): { readonly result: T; readonly table: SharedArrayBuffer | undefined } {
    const routes = new Map(this.#routes);
    const local = this.#local;
    const dirty = this.#dirty;
    try {
      const result = change();
      return { result, table: this.#dirty ? this.build(spare) : undefined };
    } catch (error) {
      this.#adopt(routes);
      this.#local = local;
      this.#dirty = dirty;
      throw error;
    }
  }

  /** Every next-hop id in use and its endpoint, in ascending order. Changing the set ends the walk's validity. */
  endpoints(): Iterable<[id: number, endpoint: Endpoint]> {
    return this.#ids.entries();
  }

  /** The prefixes that go to a next hop, in no order. Cost grows with the number of routes, once for each change of them. */
  prefixesOf(id: number): readonly Prefix[] {
    this.#prefixes ??= this.#prefixesById();
    return this.#prefixes.get(id) ?? [];
  }

  /**
   * Builds the next generation of the shared table. The set keeps no reference to it.
   *
   * @param spare a block that nobody reads any more, to be written again instead of a new one if it has about the right size
   * @throws SelvageError ERR_ROUTE_LIMIT when the table would be too large; the generation then stays as it was
   */
  build(spare?: SharedArrayBuffer): SharedArrayBuffer {
    const generation = this.#generation === LAST_GENERATION ? 1 : this.#generation + 1;
    const table = buildRouteTable(this.#tableRoutes(), this.#ids.endpointWords(), generation, spare);
    this.#generation = generation;
    this.#prefixes = undefined;
    this.#dirty = false;
    return table;
  }

  #prefixesById(): Map<number, Prefix[]> {
    const byId = new Map<number, Prefix[]>();
    for (const { prefix, id } of this.#routes.values()) {
      const known = byId.get(id);
      if (known === undefined) byId.set(id, [prefix]);
      else known.push(prefix);
    }
    return byId;
  }

  *#tableRoutes(): Generator<TableRoute> {
    for (const { prefix, id } of this.#routes.values()) yield { prefix, nextHopId: id };
    for (const prefix of this.#local.values()) yield { prefix, nextHopId: LOCAL };
  }

  #drop(prefix: string): boolean {
    const held = this.#routes.get(prefix);
    if (held === undefined) return false;
    this.#routes.delete(prefix);
    this.#ids.release(held.id);
    this.#dirty = true;
    return true;
  }

  #put(prefix: string, entry: Entry): void {
    const before = this.#routes.get(prefix);
    this.#routes.set(prefix, entry);
    if (before !== undefined) this.#ids.release(before.id);
    if (before !== entry) this.#dirty = true;
  }

  /** What is held for this very route already: most of a large replacement is as it was, and need not be parsed. */
  #unchanged({ prefix, nextHop, port = this.#defaultPort }: Route): Entry | undefined {
    const held = this.#routes.get(prefix);
    return held?.nextHop === nextHop && held.endpoint.port === port ? held : undefined;
  }

  #check(route: Route, where: Where): Entry {
    const prefix = parse(route.prefix, () => `${where()}prefix: `, parsePrefix);
    const address = this.#checkNextHop(route.nextHop, () => `${where()}nextHop: `);
    const port = route.port ?? this.#defaultPort;
    requirePort(port, () => `${where()}port`);
    return {
      prefix,
      nextHop: formatAddress(address.family, address.words),
      endpoint: { address, port },
      id: -1,
    };
  }

  #checkNextHop(nextHop: string, where: Where): IpAddress {
    const address = parse(nextHop, where, parseAddress);
    if (address.family !== this.#underlay) {
      throw new SelvageError(
        'ERR_ROUTE_INVALID',
        `${where()}${nextHop} is an IPv${address.family} address, and the underlay is IPv${this.#underlay}; ` +
          `give the peer's IPv${this.#underlay} address`,
      );
    }
    if (!isUnicastAddress(address)) {
      throw new SelvageError(
        'ERR_ROUTE_INVALID',
        `${where()}${nextHop} is not the address of one host; give the peer's unicast address`,
      );
    }
    return address;
  }

  /** New uses are counted before old ones end, so that no endpoint in both loses its id in between. */
  #adopt(entries: Map<string, Entry>): void {
    // Those that a failed change had ended get the ids that lanes still know them by.
    for (const entry of entries.values()) entry.id = this.#ids.borrow(entry.endpoint, entry.id);
    for (const { id } of this.#routes.values()) this.#ids.release(id);
    this.#routes = entries;
  }
}

/** Names the place of a fault; a function, as its text is made for faults only. */
type Where = () => string;

const nowhere: Where = () => '';

function parseLocal(prefixes: Iterable<string>): Map<string, Prefix> {
  const local = new Map<string, Prefix>();
  for (const prefix of prefixes)
    local.set(
      prefix,
      parse(prefix, () => 'own subnet: ', parsePrefix),
    );
  return local;
}

/** Runs a parser of one text; its error gets the field's name and this file's code. */
function parse<T>(text: string, where: Where, parser: (text: string) => T): T {
  if (typeof text !== 'string') {
    throw new SelvageError('ERR_ROUTE_INVALID', `${where()}expected a string, not ${typeof text}`);
  }
  try {
    return parser(text);
  } catch (error) {
    throw new SelvageError('ERR_ROUTE_INVALID', `${where()}${messageOf(error)}`, { cause: error });
  }
}

function requirePort(port: number, where: Where): void {
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return;
  throw new SelvageError(
    'ERR_ROUTE_INVALID',
    `${where()}: ${String(port)} is not a UDP port from 1 to 65535`,
  );
}

function requireNotLocal(local: ReadonlyMap<string, Prefix>, prefix: string, where: Where): void {
  if (!local.has(prefix)) return;
  throw new SelvageError(
    'ERR_ROUTE_LOCAL',
    `${where()}${prefix} is this host's own subnet; a peer cannot have it too`,
  );
}
