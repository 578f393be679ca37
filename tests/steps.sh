# SPDX-License-Identifier: GPL-3.0-or-later
# What the longer tiers share, read by ci.sh and extra/run.sh: every step runs, the last line counts.
# shellcheck shell=sh
passed=0 failed=0
step() { # name, command...
    name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
    fi
}

end_of_steps() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
