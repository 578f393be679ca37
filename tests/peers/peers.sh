#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# peers.sh PROGRAM [PART]...: peers from PyPI into a throw-away environment under build/, their
# versions printed, then the table. A peer that cannot be had is a skipped row.
cd "$(dirname "$0")/../.." || exit 2
wanted="coremltools==9.0 numpy==2.4.6"
env=build/peers

if [ "$(cat $env/wanted 2>/dev/null)" != "$wanted" ]; then
    rm -rf $env && mkdir -p build
    if python3 -m venv $env >/dev/null 2>&1 &&
        $env/bin/pip install -q --disable-pip-version-check --only-binary :all: $wanted; then
        echo "$wanted" >$env/wanted
    else
        echo "bench-peers: skipped what needs $wanted: python3, its venv or a package is missing"
    fi
fi
if [ -e $env/wanted ]; then
    PEERS_PYTHON=$env/bin/python
    PEERS_KMEANS1D=$(echo $env/lib/python3*/site-packages/coremltools/_deps/kmeans1d/_core*.so)
    export PEERS_PYTHON PEERS_KMEANS1D
    echo "peers: $($PEERS_PYTHON --version), $wanted"
fi
echo "machine: $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(nproc) processors"
exec "$@"
