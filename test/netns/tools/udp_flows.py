"""Many UDP flows of mixed sizes, every datagram checked for content, loss, repetition and order within its flow.

    udp_flows.py receive ADDRESS PORT
    udp_flows.py send    ADDRESS PORT FLOWS DATAGRAMS MAX_BYTES SEED [--gso]

A flow is a source port, and its n-th datagram follows from (seed, flow, n) alone, so that both ends know it and even
datagrams of one byte are checked whole. A flow comes in runs of equal size whose last may be shorter, as an application
that sends with segmentation offload makes them; --gso has the kernel make the superframe (UDP_SEGMENT).

A TCP connection beside the flows tells the receiver what to expect and the sender how many datagrams arrived; at most
WINDOW are on their way at any time, so that no socket buffer overflows and any loss is the network's. SIGINT makes the
sender finish early, DATAGRAMS 0 makes it send until then. Each end prints one line of JSON.
"""

import json
import random
import select
import signal
import socket
import struct
import sys
import time

WINDOW = 128
ACKNOWLEDGE_EVERY = 16
STALL_SECONDS = 3.0
BUFFER_BYTES = 4 << 20
LOOK_AHEAD = 256
SOL_UDP = 17
UDP_SEGMENT = 103


def first_source_port(port):
    """Of flows to a port; those to a port of another last digit may run beside them."""
    return 20000 + port % 10 * 1000


def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def opened(address, port, family):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the port stays free for flows of IPv4
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.bind((address, port))
    return sock


class Flow:
    """The datagrams of one flow, in order."""

    def __init__(self, seed, number, max_bytes):
        self.rng = random.Random(f'{seed}/{number}')
        self.max_bytes = max_bytes
        self.ahead = []

    def next_run(self):
        rng = self.rng
        size = rng.randint(1, rng.choice((9, 64, 300, self.max_bytes, self.max_bytes)))
        count = rng.choice((1, 1, 2, 3, 8, 16))
        sizes = [size] * count
        if count > 1 and rng.random() < 0.5:
            sizes[-1] = rng.randint(1, size)
        return [rng.randbytes(each) for each in sizes]

    def take(self):
        if not self.ahead:
            self.ahead = self.next_run()
        return self.ahead.pop(0)

    def peek(self, index):
        while len(self.ahead) <= index:
            self.ahead += self.next_run()
        return self.ahead[index]


class Sender:
    def __init__(self, address, port, flows, seed, max_bytes, gso):
        self.control = socket.create_connection((address, port), timeout=STALL_SECONDS)
        self.control.sendall((json.dumps({'flows': flows, 'seed': seed, 'maxBytes': max_bytes}) + '\n').encode())
        self.flows = [Flow(seed, number, max_bytes) for number in range(flows)]
        self.sockets = []
        for number in range(flows):
            sock = opened('', first_source_port(port) + number, family_of(address))
            sock.connect((address, port))
            self.sockets.append(sock)
        self.gso = gso
        self.sent = 0
        self.arrived = 0
        self.stopping = False
        signal.signal(signal.SIGINT, self.stop)

    def stop(self, *_):
        self.stopping = True

    def run(self, limit, seed):
        order = random.Random(f'{seed}/order')
        while not self.stopping and (limit == 0 or self.sent < limit):
            number = order.randrange(len(self.flows))
            run = self.flows[number].next_run()
            if not self.wait_until_in_flight(WINDOW - len(run)):
                break
            self.send_run(self.sockets[number], run)
        return self.wait_until_in_flight(0)

    def send_run(self, sock, run):
        total = sum(map(len, run))
        if self.gso and len(run) > 1 and total <= 60000:
            sock.sendmsg([b''.join(run)], [(SOL_UDP, UDP_SEGMENT, struct.pack('=H', len(run[0])))])
        else:
            for datagram in run:
                sock.send(datagram)
        self.sent += len(run)

    def wait_until_in_flight(self, most):
        """False when nothing arrived for STALL_SECONDS."""
        while self.sent - self.arrived > most:
            readable, _, _ = select.select([self.control], [], [], STALL_SECONDS)
            if not readable:
                return False
            self.arrived = struct.unpack('>Q', self.control.recv(8, socket.MSG_WAITALL))[0]
        return True


def send(address, port, flows, datagrams, max_bytes, seed, gso=''):
    sender = Sender(address, int(port), int(flows), seed, int(max_bytes), gso == '--gso')
    print('sending', flush=True)
    started = time.monotonic()
    whole = sender.run(int(datagrams), seed)
    sender.control.shutdown(socket.SHUT_WR)
    sender.control.recv(1)  # the receiver has written its report
    print(json.dumps({'sent': sender.sent, 'arrived': sender.arrived, 'stalled': not whole,
                      'seconds': time.monotonic() - started}), flush=True)


class Receiver:
    def __init__(self, sock, control, hello):
        self.sock = sock
        self.first_port = first_source_port(sock.getsockname()[1])
        self.control = control
        self.flows = [Flow(hello['seed'], number, hello['maxBytes']) for number in range(hello['flows'])]
        self.counts = {'received': 0, 'lost': 0, 'wrong': 0, 'strange': 0, 'bytes': 0}
        self.told = 0

    def run(self):
        while True:
            readable, _, _ = select.select([self.sock, self.control], [], [], 0.05)
            if self.sock in readable:
                self.drain()
            elif self.control in readable:
                break  # the sender has finished
            self.tell(1 if not readable else ACKNOWLEDGE_EVERY)

    def drain(self):
        while True:
            try:
                data, source = self.sock.recvfrom(65535, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self.take(data, source[1] - self.first_port)
            self.tell(ACKNOWLEDGE_EVERY)

    def take(self, data, number):
        if not 0 <= number < len(self.flows):
            self.counts['strange'] += 1
            return
        self.counts['received'] += 1
        self.counts['bytes'] += len(data)
        flow = self.flows[number]
        if flow.peek(0) == data:
            flow.take()
            return
        # Not the next one: some were lost, or this one is changed, repeated or late.
        for skipped in range(1, LOOK_AHEAD):
            if flow.peek(skipped) == data and len(data) > 3:
                del flow.ahead[: skipped + 1]
                self.counts['lost'] += skipped
                return
        self.counts['wrong'] += 1

    def tell(self, least):
        if self.counts['received'] - self.told >= least:
            self.told = self.counts['received']
            self.control.sendall(struct.pack('>Q', self.told))


def receive(address, port):
    sock = opened(address, int(port), family_of(address))
    listener = socket.create_server((address, int(port)), family=family_of(address))
    print('listening', flush=True)
    control, _ = listener.accept()
    control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hello = json.loads(control.makefile('r', buffering=1).readline())
    receiver = Receiver(sock, control, hello)
    receiver.run()
    print(json.dumps(receiver.counts), flush=True)


globals()[sys.argv[1]](*sys.argv[2:])
