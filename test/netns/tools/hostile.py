"""Sends inner packets as an attacker makes them. The seed determines all of them, and their order.

    hostile.py PLAN

PLAN is a JSON object:

    via        "datagrams": each packet is the payload of a UDP datagram to `address` and `port`, some as trains (UDP_SEGMENT)
               "forged":    the same in packets made by hand, which claim to come from `outerSource`
               "packets":   out of the Ethernet `interface`, addressed to `mac`
               "frames":    into the sending queue of `interface`, which has no link header
    seed, count, seconds, perSecond        no more than that; whichever ends first
    most       bytes of the largest packet that can be sent this way
    kinds      only these, all without it
    networks   a list of {family, own, victims, spoofed, refused, elsewhere}: lists of addresses. `own` are the sender's own,
               `victims` those a packet may go to, `spoofed` sources it may not have, `refused` and `elsewhere` destinations
               that do not concern the receiver: its own underlay, and other hosts or nobody
    quotedPeer with "forged": also ICMP errors to `address` about its own tunnel to there

Sound packets are among them. Prints one line of JSON: how many were sent in all and of each kind, datagrams of a train one by
one, and how many the kernel refused, by kind and errno name.
"""

import collections
import errno
import ipaddress
import json
import random
import socket
import struct
import sys
import time

BUFFER_BYTES = 4 << 20
SOL_UDP = 17
UDP_SEGMENT = 103
IPV6_HDRINCL = 36
MOST_SEGMENTS = 64
SLICE_ATTEMPTS = 32
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AUTHENTICATION, NO_NEXT, OPTIONS, MOBILITY = 0, 43, 44, 50, 51, 59, 60, 135
MARTIANS = {
    4: ['0.0.0.0', '0.1.2.3', '127.0.0.1', '127.255.255.254', '169.254.7.7', '224.0.0.1', '239.1.2.3', '240.0.0.1',
        '255.255.255.255'],
    6: ['::', '::1', '::127.0.0.1', '::ffff:10.1.2.2', '64:ff9b::1.2.3.4', 'fe80::1', 'fec0::1', 'ff01::1', 'ff02::1',
        'ff02::2', 'ff05::2', 'ff0e::1', '100::1', '2002:7f00:1::1'],
}


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address):
    return ipaddress.ip_address(address).packed


def ipv4(source, destination, protocol, payload, *, ttl=64, tos=0, identification=0, fragment=0, options=b'',
         version_ihl=None, total=None, wrong_checksum=0):
    header_bytes = 20 + len(options)
    header = struct.pack('>BBHHHBBH4s4s', 0x40 | header_bytes // 4 if version_ihl is None else version_ihl, tos,
                         min(header_bytes + len(payload), 65535) if total is None else total, identification, fragment,
                         ttl, protocol, 0, packed(source), packed(destination)) + options
    return header[:10] + struct.pack('>H', checksum(header) ^ wrong_checksum) + header[12:] + payload


def ipv6(source, destination, protocol, payload, *, ttl=64, tos=0, label=0, version=6, total=None):
    first = version << 28 | tos << 20 | label
    length = min(len(payload), 65535) if total is None else total
    return struct.pack('>IHBB16s16s', first, length, protocol, ttl, packed(source), packed(destination)) + payload


def summed(source, destination, protocol, message, at):
    """A transport message with its checksum over the pseudo-header put in place."""
    pseudo = packed(source) + packed(destination) + struct.pack('>II', len(message), protocol)
    total = checksum(pseudo + message)
    return message[:at] + struct.pack('>H', total or 0xFFFF) + message[at + 2:]


class Sender:
    """Makes packets of one family."""

    def __init__(self, rng, network, most):
        self.rng = rng
        self.family = network['family']
        self.network = network
        self.most = most

    def own(self):
        return self.rng.choice(self.network['own'])

    def victim(self):
        return self.rng.choice(self.network['victims'])

    def ip(self, protocol, payload, source=None, destination=None, **fields):
        make = ipv4 if self.family == 4 else ipv6
        return make(source or self.own(), destination or self.victim(), protocol, payload, **fields)

    def data(self, most=1200):
        return self.rng.randbytes(self.rng.choice((0, 1, 8, self.rng.randint(0, most), self.rng.randint(0, 64))))

    def transport(self, source, destination, data=None):
        """A protocol number and a sound message of it."""
        rng = self.rng
        data = self.data() if data is None else data
        ports = rng.randbytes(4)
        kind = rng.randrange(3)
        if kind == 0:
            message = ports + struct.pack('>HH', 8 + len(data), 0) + data
            return UDP, summed(source, destination, UDP, message, 6)
        if kind == 1:
            message = ports + rng.randbytes(8) + struct.pack('>BBHHH', 0x50, 0x10, 512, 0, 0) + data
            return TCP, summed(source, destination, TCP, message, 16)
        return self.echo(source, destination, data)

    def echo(self, source, destination, data):
        request = self.icmp_message(8 if self.family == 4 else 128, 0, self.rng.randbytes(4), data, source, destination)
        return (ICMP if self.family == 4 else ICMPV6), request

    def icmp_message(self, kind, code, rest, data, source, destination):
        message = struct.pack('>BBH', kind, code, 0) + rest + data
        if self.family == 6:
            return summed(source, destination, ICMPV6, message, 2)
        return message[:2] + struct.pack('>H', checksum(message)) + message[4:]

    def sound(self, source=None, destination=None, data=None, **fields):
        source, destination = source or self.own(), destination or self.victim()
        return self.ip(*self.transport(source, destination, data), source, destination, **fields)

    def extensions(self, count, upper, payload):
        """A chain of extension headers before a payload; returns the first one's number and all bytes."""
        rng = self.rng
        for _ in range(count):
            kind = rng.choice((HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS, OPTIONS, MOBILITY))
            if kind == FRAGMENT:
                header = struct.pack('>BBHI', upper, 0, rng.choice((0, 1, 0, rng.randrange(65536))), rng.getrandbits(32))
            else:
                units = rng.randrange(4)
                true = units * 4 + 8 if kind == AUTHENTICATION else units * 8 + 8
                said = units if rng.random() < 0.8 else rng.randrange(256)
                if kind == AUTHENTICATION:
                    true = (units + 2) * 4
                header = struct.pack('>BB', upper, said) + rng.randbytes(true - 2)
            upper, payload = kind, header + payload
        return upper, payload


# Each kind makes one packet, or a list of them that are sent together.

def sound(s):
    return s.sound()


def random_bytes(s):
    return s.rng.randbytes(s.rng.randint(0, min(2000, s.most)))


def empty(_):
    return b''


def random_versioned(s):
    return bytes([s.family << 4 | 5]) + s.rng.randbytes(s.rng.randint(0, 100))


def truncated(s):
    packet = s.sound()
    return packet[:s.rng.choice((s.rng.randrange(24), s.rng.randrange(len(packet))))]


def padded(s):
    return s.sound() + s.rng.randbytes(s.rng.randint(1, 60))


def wrong_version(s):
    packet = s.sound()
    return bytes([s.rng.choice([v for v in range(16) if v not in (4, 6)]) << 4 | packet[0] & 15]) + packet[1:]


def other_version(s):
    """The version nibble of the other family."""
    packet = s.sound()
    return bytes([packet[0] ^ 0x20]) + packet[1:]


def wrong_header_length(s):
    if s.family == 6:
        return s.sound(total=0)  # a jumbogram without the option
    return s.sound(version_ihl=0x40 | s.rng.choice((0, 1, 4, 15, s.rng.randrange(16))))


def wrong_total_length(s):
    packet = s.sound()
    true = len(packet) - (40 if s.family == 6 else 0)
    return s.sound(total=s.rng.choice((0, 1, 19, 65535, max(0, true - 1), true + 1, s.rng.randrange(65536))))


def wrong_checksum(s):
    if s.family == 4:
        return s.sound(wrong_checksum=s.rng.randint(1, 0xFFFF))
    return s.ip(UDP, s.rng.randbytes(4) + struct.pack('>HH', 16, 1) + s.rng.randbytes(8))


def flipped_bits(s):
    packet = bytearray(s.sound())
    for _ in range(s.rng.randint(1, 8)):
        packet[s.rng.randrange(min(len(packet), 60))] ^= 1 << s.rng.randrange(8)
    return bytes(packet)


def header_options(s):
    """IPv4: source routes, timestamps, options that do not end. IPv6: options of unknown types with all their actions."""
    rng = s.rng
    if s.family == 4:
        options = rng.choice((
            lambda: b'\x83\x07\x04' + packed(s.victim()) + b'\0',
            lambda: b'\x89\x0b\x04' + packed(s.victim()) * 2 + b'\0',
            lambda: b'\x44\x08\x05\x01' + rng.randbytes(4),
            lambda: b'\x07\x27\x04' + bytes(37),
            lambda: b'\x94\x04\0\0',
            lambda: rng.randbytes(4 * rng.randint(1, 10)),
            lambda: b'\x07\xff\xff\xff',
            lambda: b'\x83\x00\x00\x00',
        ))()
        return s.sound(options=options)
    kind = rng.choice((0x05, 0xC2, 0x3E, 0x7E, 0xBE, 0xFE, rng.randrange(256)))
    options = struct.pack('>BB', kind, rng.choice((4, 4, 2, 255))) + rng.randbytes(4)
    return s.ip(rng.choice((HOP_BY_HOP, OPTIONS)), struct.pack('>BB', NO_NEXT, 0) + options)


def extension_chain(s):
    if s.family == 4:
        return s.ip(s.rng.choice((AUTHENTICATION, ESP, HOP_BY_HOP, OPTIONS)), s.rng.randbytes(40))
    source, destination = s.own(), s.victim()
    count = s.rng.choice((1, 2, 3, 8, 9, 40))
    first, payload = s.extensions(count, *s.transport(source, destination, s.data(200)))
    packet = s.ip(first, payload, source, destination)
    return packet if s.rng.random() < 0.7 else packet[:s.rng.randint(40, len(packet))]


def fragments(s):
    """First, last, overlapping, tiny, atomic, and one whose end lies beyond 65,535 bytes."""
    rng = s.rng
    offset, more = rng.choice(((0, 1), (0, 0), (1, 0), (1, 1), (3, 1), (185, 0), (8191, 0), (rng.randrange(8192), rng.randrange(2))))
    data = rng.randbytes(rng.choice((0, 1, 8, 16, 1000)))
    identification = rng.randrange(4)  # few, so that they are put together
    if s.family == 4:
        return s.ip(UDP, data, fragment=offset | more << 13, identification=identification)
    return s.ip(FRAGMENT, struct.pack('>BBHI', UDP, 0, offset << 3 | more, identification) + data)


def martian_source(s):
    return s.sound(source=s.rng.choice(MARTIANS[s.family]))


def martian_destination(s):
    return s.sound(destination=s.rng.choice(MARTIANS[s.family]))


def same_source_and_destination(s):
    address = s.victim()
    return s.sound(source=address, destination=address)


def spoofed_source(s):
    return s.sound(source=s.rng.choice(s.network['spoofed']))


def to_the_host(s):
    return s.sound(destination=s.rng.choice(s.network['refused']))


def to_somebody_else(s):
    return s.sound(destination=s.rng.choice(s.network['elsewhere']))


def last_hop(s):
    return s.sound(ttl=s.rng.randrange(2))


def largest(s):
    headers = 60
    return s.sound(data=s.rng.randbytes(s.rng.choice((s.most - headers, s.rng.randint(0, s.most - headers)))))


def superframe(s):
    """Looks as if it had been joined of many: larger than any MTU, or said to be so."""
    source, destination = s.own(), s.victim()
    data = s.rng.randbytes(min(s.most - 60, 9000))
    message = s.rng.randbytes(12) + struct.pack('>BBHHH', 0x50, s.rng.randrange(256), 512, 0, 0) + data
    packet = s.ip(TCP, summed(source, destination, TCP, message, 16), source, destination)
    return packet if s.rng.random() < 0.5 else s.ip(TCP, message, source, destination, total=s.rng.choice((65535, 60000)))


def train(s):
    """Datagrams of one flow and size, as a receiver joins them; some are damaged."""
    rng = s.rng
    source, destination = s.own(), s.victim()
    ports, size, start = rng.randbytes(4), rng.randint(1, min(1100, s.most - 60)), rng.getrandbits(31)
    kind = rng.randrange(2)
    packets = []
    for i in range(rng.randint(2, min(MOST_SEGMENTS, 64000 // (size + 60)))):
        data = rng.randbytes(size)
        if kind:
            message = ports + struct.pack('>IIBBHHH', start + i * size & 0xFFFFFFFF, 1, 0x50, 0x10, 512, 0, 0) + data
            packet = s.ip(TCP, summed(source, destination, TCP, message, 16), source, destination)
        else:
            message = ports + struct.pack('>HH', 8 + size, 0) + data
            packet = s.ip(UDP, summed(source, destination, UDP, message, 6), source, destination)
        if rng.random() < 0.1:
            at = rng.randrange(len(packet))
            packet = packet[:at] + bytes([packet[at] ^ 1 << rng.randrange(8)]) + packet[at + 1:]
        packets.append(packet)
    return packets


def error_about_error(s):
    """ICMP errors that quote ICMP errors, themselves, nothing, or what was never sent."""
    rng = s.rng
    source, destination = s.own(), s.victim()
    if s.family == 4:
        kinds, protocol = ((3, 1), (3, 3), (3, 4), (4, 0), (5, 1), (11, 0), (11, 1), (12, 0)), ICMP
    else:
        kinds, protocol = ((1, 0), (1, 4), (2, 0), (3, 0), (4, 0), (4, 1), (100, 0), (127, 0), (137, 0)), ICMPV6
    rest = struct.pack('>I', rng.choice((0, 1, 68, 552, 1280, 65535)))
    quoted = rng.choice((b'', rng.randbytes(rng.randrange(100)), s.sound(destination, source)[:rng.randint(0, 60)]))
    for _ in range(rng.randint(1, 3)):
        message = s.icmp_message(*rng.choice(kinds), rest, quoted[:1000], source, destination)
        quoted = s.ip(protocol, message, source, destination)
    return quoted


def odd_transport(s):
    rng = s.rng
    source, destination = s.own(), s.victim()
    choice = rng.randrange(5)
    if choice == 0:  # TCP with any flags and a header of any length
        return s.ip(TCP, rng.randbytes(12) + bytes([rng.randrange(256), rng.randrange(256)]) + rng.randbytes(rng.randint(0, 40)))
    if choice == 1:  # UDP that lies about its length
        return s.ip(UDP, rng.randbytes(4) + struct.pack('>HH', rng.choice((0, 7, 65535, rng.randrange(65536))), 0) + s.data())
    if choice == 2:  # port 0, or nothing at all behind the header
        return s.ip(UDP, rng.choice((bytes(8), b'', rng.randbytes(7))), source, destination)
    if choice == 3:
        return s.ip(rng.randrange(256), s.data(), source, destination)
    return s.ip(TCP, b'', source, destination)


def packet_in_packet(s):
    """IP in IP, and an overlay datagram to the overlay's own port with a packet in it: nobody may unpack it."""
    inside = s.sound()
    if s.rng.random() < 0.5:
        return s.ip(s.rng.choice((4, 41, 47)), inside)
    source, destination = s.own(), s.rng.choice(s.network['refused'] + s.network['victims'])
    message = struct.pack('>HHHH', 8285, 8285, 8 + len(inside), 0) + inside
    return s.ip(UDP, summed(source, destination, UDP, message, 6), source, destination)


def traffic_classes(s):
    return s.sound(tos=s.rng.randrange(256))


KINDS = [sound, random_bytes, empty, random_versioned, truncated, padded, wrong_version, other_version, wrong_header_length,
         wrong_total_length, wrong_checksum, flipped_bits, header_options, extension_chain, fragments, martian_source,
         martian_destination, same_source_and_destination, spoofed_source, to_the_host, to_somebody_else, last_hop, largest,
         superframe, train, error_about_error, odd_transport, packet_in_packet, traffic_classes]


class Datagrams:
    def __init__(self, plan):
        self.target = (plan['address'], plan['port'])
        self.sock = socket.socket(socket.AF_INET6 if ':' in plan['address'] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)

    def units(self, packets):
        """What is sent by one call: all that the kernel can cut again, otherwise single packets."""
        size = len(packets[0])
        whole = len(packets) > 1 and size > 0 and all(len(each) == size for each in packets)
        return [packets] if whole else [[each] for each in packets]

    def send(self, unit):
        if len(unit) == 1:
            self.sock.sendto(unit[0], self.target)
        else:
            size = struct.pack('=H', len(unit[0]))
            self.sock.sendmsg([b''.join(unit)], [(SOL_UDP, UDP_SEGMENT, size)], 0, self.target)


def singly(packets):
    return [[each] for each in packets]


class Forged:
    """Whole outer packets, from whatever source."""

    def __init__(self, plan):
        self.plan = plan
        family = socket.AF_INET6 if ':' in plan['address'] else socket.AF_INET
        self.ip = ipv6 if family == socket.AF_INET6 else ipv4
        self.sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)

    units = staticmethod(singly)

    def send(self, unit):
        source, destination, port = self.plan['outerSource'], self.plan['address'], self.plan['port']
        message = struct.pack('>HHHH', port, port, 8 + len(unit[0]), 0) + unit[0]
        outer = self.ip(source, destination, UDP, summed(source, destination, UDP, message, 6))
        self.sock.sendto(outer, (destination, 0))

    def send_error(self, rng):
        """An ICMP error about a datagram of the tunnel between `address` and `quotedPeer`."""
        source, target, peer, port = (self.plan[each] for each in ('outerSource', 'address', 'quotedPeer', 'port'))
        about = self.ip(target, peer, UDP, struct.pack('>HHHH', port, port, 108, 0) + rng.randbytes(40))
        rest = struct.pack('>I', rng.choice((0, 68, 552, 1000, 1280, 65535)))
        if self.ip is ipv4:
            message = struct.pack('>BBH', *rng.choice(((3, 1), (3, 3), (3, 4), (3, 13), (11, 0))), 0) + rest + about
            packet = ipv4(source, target, ICMP, message[:2] + struct.pack('>H', checksum(message)) + message[4:])
        else:
            message = struct.pack('>BBH', *rng.choice(((1, 0), (1, 4), (2, 0), (3, 0))), 0) + rest + about
            packet = ipv6(source, target, ICMPV6, summed(source, target, ICMPV6, message, 2))
        self.sock.sendto(packet, (target, 0))


class Frames:
    def __init__(self, plan):
        mac = plan.get('mac')
        self.interface = plan['interface']
        self.mac = mac and bytes.fromhex(mac.replace(':', ''))
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM if mac else socket.SOCK_RAW)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)

    units = staticmethod(singly)

    def send(self, unit):
        [packet] = unit
        ether_type = 0x86DD if packet[:1] and packet[0] >> 4 == 6 else 0x0800
        address = (self.interface, ether_type, 0, 0, self.mac) if self.mac else (self.interface, ether_type)
        self.sock.sendto(packet, address)


class Pace:
    """No more than so many a second, in slices."""

    def __init__(self, per_second):
        self.per_second = per_second
        self.started = time.monotonic()

    def wait(self, sent):
        early = self.started + sent / self.per_second - time.monotonic()
        if early > 0.001:
            time.sleep(early)


def main(plan):
    rng = random.Random(plan['seed'])
    way = {'datagrams': Datagrams, 'forged': Forged, 'packets': Frames, 'frames': Frames}[plan['via']](plan)
    senders = [Sender(rng, network, plan['most']) for network in plan['networks']]
    kinds = {each.__name__: each for each in KINDS if each.__name__ in plan.get('kinds', [each.__name__])}
    wants_errors = plan.get('quotedPeer') and 'outer_error' in plan.get('kinds', ['outer_error'])
    names = [*kinds, *(['outer_error'] if wants_errors else [])]
    per_kind, refused = collections.Counter(dict.fromkeys(names, 0)), collections.defaultdict(collections.Counter)
    pace, started, sent, slices = Pace(plan['perSecond']), time.monotonic(), 0, 0

    def attempt(name, packets, call, *arguments):
        nonlocal sent
        try:
            call(*arguments)
            per_kind[name] += packets
            sent += packets
        except OSError as error:
            refused[name][errno.errorcode.get(error.errno, str(error.errno))] += packets

    while sent < plan['count'] and time.monotonic() - started < plan['seconds']:
        name, sender = rng.choice(names), rng.choice(senders)
        if name == 'outer_error':
            attempt(name, 1, way.send_error, rng)
        else:
            packets = kinds[name](sender)
            packets = packets if isinstance(packets, list) else [packets]
            for unit in way.units(packets[:plan['count'] - sent]):
                attempt(name, len(unit), way.send, unit)
        slices += 1
        if slices % SLICE_ATTEMPTS == 0:
            pace.wait(sent)
    print(json.dumps({'seed': plan['seed'], 'sent': sent, 'seconds': time.monotonic() - started,
                      'perKind': per_kind, 'refused': refused}), flush=True)


main(json.loads(sys.argv[1]))
