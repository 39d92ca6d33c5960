#!/usr/bin/env bash
# EMR bootstrap action: what every node needs before Spark starts. Run again, it changes nothing.
#   bootstrap.sh                      the interpreter that the environment of `make package` links to
#   bootstrap.sh ARCHIVE_URI SHA256   also that environment itself, in /opt/sparkq/environment: a cluster that runs many steps
#                                     then unpacks it once, and not for each of them (--archives)
# ARCHIVE_URI is s3://, https:// or file://. Nothing is installed unless the archive's checksum is right.
set -euo pipefail
NODE_PYTHON=${NODE_PYTHON:-/usr/bin/python3.11}
PREFIX=${PREFIX:-/opt/sparkq}

fail() {
    echo "bootstrap: $1" >&2
    echo "Hint: $2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

fetch() {
    case $1 in
        s3://*) aws s3 cp --only-show-errors "$1" "$2" ;;
        https://* | file://*) curl --fail --silent --show-error --location --proto '=https,file' --output "$2" "$1" ;;
        *) fail "expected an s3://, https:// or file:// uri; got '$1'." "upload dist/environment.tar.gz of \`make package\` first." ;;
    esac
}

[ $# = 0 ] || [ $# = 2 ] || fail "expected no arguments, or ARCHIVE_URI and SHA256; got $#." "the sum is in dist/environment.tar.gz.sha256."
[ $# = 0 ] || [[ $2 =~ ^[0-9a-f]{64}$ ]] || fail "expected a SHA-256 sum of 64 digits; got '$2'." "the sum is in dist/environment.tar.gz.sha256."

# Named by its sum, and whole as soon as it has that name.
environment=$PREFIX/environment-${2:-}
wanted=$([ $# = 2 ] && [ ! -d "$environment" ] && echo yes || echo no)
if [ "$wanted" = yes ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"; as_root rm -rf "$environment.part"' EXIT
    fetch "$1" "$work/environment.tar.gz"
    sum=$(sha256sum < "$work/environment.tar.gz")
    sum=${sum%% *}
    [ "$sum" = "$2" ] || fail "$1: expected SHA-256 $2; got $sum." "upload what \`make package\` built, and take the sum beside it."
fi

if [ ! -x "$NODE_PYTHON" ]; then
    # EMR ties a release to one version of Amazon Linux's repositories, and dnf checks their signatures.
    as_root dnf install --assumeyes --quiet "$(basename "$NODE_PYTHON")"
fi

if [ "$wanted" = yes ]; then
    as_root mkdir -p "$environment.part"
    as_root tar -xzf "$work/environment.tar.gz" -C "$environment.part" --no-same-owner
    "$environment.part/bin/python" -c 'import numpy, pyarrow, torch, sparkq' \
        || fail "$1: its Python does not run on this node." "build it with the Python of the nodes: make package NODE_PYTHON=$NODE_PYTHON"
    as_root mv -T "$environment.part" "$environment"
fi
if [ $# = 2 ] && [ "$(readlink "$PREFIX/environment" || true)" != "$environment" ]; then
    as_root ln -sfn "$environment" "$PREFIX/environment"
fi
