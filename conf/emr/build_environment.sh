#!/usr/bin/env bash
# Builds the environment that a cluster's nodes run: sparkq and what it needs, but Spark, which the cluster brings.
# Usage: PYTHON=python3.11 build_environment.sh WHEEL DIRECTORY [PACKAGE...]
# It holds no interpreter: bin/python is a link to NODE_PYTHON, which the nodes have from their own repositories, built for
# their C library and kept safe by their updates. All else are manylinux wheels, and runs wherever the directory lies.
set -euo pipefail
conf=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3.11}
NODE_PYTHON=${NODE_PYTHON:-/usr/bin/python3.11}
wheel=$1 directory=$2
shift 2

version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$(basename "$NODE_PYTHON")" != "python$version" ]; then
    echo "environment: expected a Python as on the nodes ($NODE_PYTHON) to build it; $PYTHON is $version." >&2
    echo "Hint: make clean package PYTHON=$(basename "$NODE_PYTHON"); EMR 7 has /usr/bin/python3.11." >&2
    exit 1
fi

required=$("$PYTHON" - "$wheel" <<'END'
import email, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    required = email.message_from_bytes(wheel.read(name)).get_all("Requires-Dist")
print(*(text for text in required if "extra ==" not in text and not text.startswith("pyspark")), sep="\n")
END
)
mapfile -t requirements <<< "$required"
rm -rf "$directory"
"$PYTHON" -m venv --without-pip "$directory"
pip=("$PYTHON" -m pip --python "$directory/bin/python" install --quiet --disable-pip-version-check --only-binary ":all:")
"${pip[@]}" --constraint "$conf/constraints.txt" "${requirements[@]}" "$@"
"${pip[@]}" --no-deps "$wheel"

# The builder's paths, out of it.
rm -f "$directory"/bin/*
ln -s "$NODE_PYTHON" "$directory/bin/python"
printf 'home = %s\ninclude-system-site-packages = false\n' "$(dirname "$NODE_PYTHON")" > "$directory/pyvenv.cfg"
# shellcheck disable=SC2016  # for the script's own shell
printf '%s\n' '#!/bin/sh' 'exec "$(dirname "$(readlink -f "$0")")/python" -c "import sys; from sparkq.cli import main; sys.exit(main())" "$@"' \
    > "$directory/bin/sparkq"
chmod +x "$directory/bin/sparkq"

# A quarter of it that no job opens: tests (numpy.testing imports some of numpy's), headers, torch's own test programs; and the
# path of the wheel.
packages=$directory/lib/python$version/site-packages
find "$packages" -path "$packages/numpy" -prune -o -type d -name tests -print0 | xargs -0 rm -rf
rm -rf "$packages"/torch/{test,include} "$packages/pyarrow/include" "$packages"/sparkq-*.dist-info/direct_url.json
find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
