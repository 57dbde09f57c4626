"""Tells every IP packet that arrives at or leaves an interface, one line each: '<' for in, '>' for out, then hex.

    capture.py INTERFACE [FILE]

Without FILE it prints them. Superframes are told as they are. Says 'capturing' first; runs until killed.
"""

import socket
import sys

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 8 << 20
IP_TYPES = (0x0800, 0x86DD)


def main(interface, path=None):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        except PermissionError:
            pass  # not the machine's root: as large as the limit allows
    sock.bind((interface, ETH_P_ALL))
    print('capturing', flush=True)
    out = sys.stdout if path is None else open(path, 'w')
    while True:
        packet, address = sock.recvfrom(65535)
        if address[1] in IP_TYPES:
            print('>' if address[2] == PACKET_OUTGOING else '<', packet.hex(), file=out, flush=True)


main(*sys.argv[1:])
