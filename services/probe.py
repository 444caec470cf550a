"""Asks a service beside us how it is, for the health check of a container: `python -m services.probe PORT [PATH]`.

Exit code 0 where it answers 200; else 1, with what it said or why it did not.
"""

import sys
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from services.health import READY

PATIENCE_S = 5.0


def illness(port: int, path: str = READY) -> str:
    """What is wrong in words; empty when nothing is."""
    opener = build_opener(ProxyHandler({}))  # no proxy of the environment is asked about our own loopback
    try:
        opener.open(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S).close()
    except HTTPError as error:
        with error:
            return error.read().decode("utf-8", "replace").strip() or str(error)
    except OSError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    said = illness(int(sys.argv[1]), *sys.argv[2:3])
    if said:
        sys.stderr.write(f"{said}\n")
    sys.exit(bool(said))
