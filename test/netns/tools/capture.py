"""Prints every IP packet that arrives at or leaves an interface, one line each: '<' for in, '>' for out, then hex.

    capture.py INTERFACE [MOST_BYTES]

Superframes are printed as they are, cut to MOST_BYTES (2048 by default). Says 'capturing' first; runs until killed.
"""

import socket
import sys

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 8 << 20
IP_TYPES = (0x0800, 0x86DD)


def main(interface, most='2048'):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        except PermissionError:
            pass  # not the machine's root: as large as the limit allows
    sock.bind((interface, ETH_P_ALL))
    print('capturing', flush=True)
    while True:
        packet, address = sock.recvfrom(int(most))
        if address[1] in IP_TYPES:
            print('>' if address[2] == PACKET_OUTGOING else '<', packet.hex(), flush=True)


main(*sys.argv[1:])
