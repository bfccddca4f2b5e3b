"""The one UDP port: datagrams in and out, many in one system call.

Owns the sockets, the memory that C reads and writes, and every call to libsrtp, recvmmsg and sendmmsg. Never decides
who may connect, and never looks behind a packet's header. In reading order: `port` (demultiplexing), `receive` and
`send` (batched system calls), `burst` (packets to GSO messages), `paths` (addresses as C reads them), `srtp` (keys and
encryption), `linux` (structures and functions of libc), `stun` (ICE messages), `timers` (work while the loop is awake).
"""
