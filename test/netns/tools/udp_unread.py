"""A UDP socket that is bound and never read: once its buffer is full, the kernel drops what arrives.

    udp_unread.py ADDRESS PORT

Says 'bound' first; runs until killed.
"""

import signal
import socket
import sys


def main(address, port):
    sock = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, int(port)))
    print('bound', flush=True)
    signal.pause()


main(*sys.argv[1:])
