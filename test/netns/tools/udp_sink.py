"""Prints every datagram that arrives at a port, one line of hex each.

    udp_sink.py ADDRESS PORT

Says 'listening' first; runs until killed.
"""

import socket
import sys

SO_RCVBUFFORCE = 33
BUFFER_BYTES = 8 << 20


def main(address, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        except PermissionError:
            pass  # not the machine's root: as large as the limit allows
    sock.bind((address, int(port)))
    print('listening', flush=True)
    while True:
        print(sock.recv(65535).hex(), flush=True)


main(*sys.argv[1:])
