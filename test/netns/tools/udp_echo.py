"""One UDP datagram of every size, sent back and compared.

    udp_echo.py serve ADDRESS PORT
    udp_echo.py sweep ADDRESS PORT LEAST MOST SEED

The sweep goes up through all payload sizes and down again, a few at a time, with the don't-fragment bit set. Answers must
come back whole, unchanged and in order. Prints one line of JSON: how many came back, and the first that did not.
"""

import collections
import json
import random
import socket
import sys

IN_FLIGHT = 8
BUFFER_BYTES = 1 << 20
PATIENCE_SECONDS = 5
IP_MTU_DISCOVER = 10
IP_PMTUDISC_DO = 2
IPV6_MTU_DISCOVER = 23
IPV6_DONTFRAG = 62


def opened(address):
    """Of the address's family, and sends no fragments."""
    if ':' not in address:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        return sock
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
    return sock


def bound(address, port):
    sock = opened(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.bind((address, int(port)))
    return sock


def serve(address, port):
    sock = bound(address, port)
    print('listening', flush=True)
    while True:
        data, source = sock.recvfrom(65535)
        sock.sendto(data, source)


def sweep(address, port, least, most, seed):
    sock = bound('::' if ':' in address else '', 0)
    sock.connect((address, int(port)))
    sock.settimeout(PATIENCE_SECONDS)
    rng = random.Random(seed)
    sizes = range(int(least), int(most) + 1)
    expected = collections.deque()
    returned = 0

    def check_one():
        want = expected.popleft()
        try:
            got = sock.recv(65535)
        except TimeoutError:
            got = None
        if got != want:
            report(f'{len(want)} bytes: ' + ('nothing came back' if got is None else f'{len(got)} other bytes came back'))

    def report(fault):
        print(json.dumps({'returned': returned, 'expected': 2 * len(sizes), 'fault': fault}), flush=True)
        sys.exit(0)

    for size in [*sizes, *reversed(sizes)]:
        expected.append(rng.randbytes(size))
        sock.send(expected[-1])
        if len(expected) == IN_FLIGHT:
            check_one()
            returned += 1
    while expected:
        check_one()
        returned += 1
    report(None)


globals()[sys.argv[1]](*sys.argv[2:])
