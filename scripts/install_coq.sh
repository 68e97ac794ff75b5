#!/usr/bin/env bash
# Coq and its package Interval from Debian: what `coqc` needs to prove the files of `kvverify export FILE --to coq`.
# Needs root. Debian 12 has coq 8.16.1 and libcoq-interval 4.6.1; docs/export.md says what was tried with them.
set -euo pipefail

if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "install_coq.sh: needs root and apt-get; by hand: coq and libcoq-interval (names of Debian packages)" >&2
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --no-install-recommends coq libcoq-interval
coqc --version
