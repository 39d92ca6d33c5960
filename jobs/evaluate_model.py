"""spark-submit target: the same as ``sparkq evaluate``, in the session that spark-submit made."""
import sys

from sparkq.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
