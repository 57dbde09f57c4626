"""Which source address a receiver sees.

    udp_source.py serve ADDRESS PORT         answers each datagram with the address it came from
    udp_source.py ask ADDRESS PORT [FROM]    asks such a server; prints its answer, or "nothing"
    udp_source.py hear GROUP PORT ADDRESS    joins a multicast group on the interface of ADDRESS; prints the first source
    udp_source.py call GROUP PORT FROM ADDRESS   sends one datagram to the group by the interface of ADDRESS
"""

import socket
import sys

PATIENCE_SECONDS = 2


def opened(address):
    return socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)


def serve(address, port):
    sock = opened(address)
    sock.bind((address, int(port)))
    print('listening', flush=True)
    while True:
        _, source = sock.recvfrom(2048)
        sock.sendto(source[0].encode(), source)


def ask(address, port, own=None):
    sock = opened(address)
    if own:
        sock.bind((own, 0))
    sock.settimeout(PATIENCE_SECONDS)
    sock.sendto(b'?', (address, int(port)))
    try:
        print(sock.recv(2048).decode())
    except TimeoutError:
        print('nothing')


def hear(group, port, address):
    sock = opened(group)
    sock.bind((group, int(port)))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(address))
    print('listening', flush=True)
    print(sock.recvfrom(2048)[1][0], flush=True)


def call(group, port, own, address):
    sock = opened(group)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    sock.bind((own, 0))
    sock.sendto(b'!', (group, int(port)))


globals()[sys.argv[1]](*sys.argv[2:])
