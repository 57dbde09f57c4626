"""Writes every datagram that arrives at a port into a file, one line of hex each.

    udp_sink.py ADDRESS PORT FILE

Says 'listening' first; runs until killed.
"""

import socket
import sys

SO_RCVBUFFORCE = 33
BUFFER_BYTES = 8 << 20


def main(address, port, path):
    sock = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        except PermissionError:
            pass  # not the machine's root: as large as the limit allows
    sock.bind((address, int(port)))
    print('listening', flush=True)
    with open(path, 'w', buffering=1) as file:
        while True:
            file.write(sock.recv(65535).hex() + '\n')


main(*sys.argv[1:])
