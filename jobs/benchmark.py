"""spark-submit target: the same as ``sparkq benchmark``; each job that it times runs in a session of its own on this machine."""
import sys

from sparkq.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
