"""The sockets on which a process hears the network, as the system lists them."""

from contextlib import suppress
from pathlib import Path

LISTENS = "0A"  # the state of TCP; UDP has no other than being open
LOOPBACK = ("0100007F", "00000000000000000000000001000000")


def listening(pid: int) -> dict[int, bool]:
    """The ports that a process has open, and whether only this machine reaches them."""
    opened = {}
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENS or name.startswith("udp"):
                address, _, port = local.partition(":")
                opened[f"socket:[{inode}]"] = int(port, 16), address in LOOPBACK
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it is closed meanwhile
            found.append(str(descriptor.readlink()))
    return dict(opened[name] for name in found if name in opened)
