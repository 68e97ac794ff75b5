#!/usr/bin/env bash
# What action.yml runs, in the folder whose certificates are checked; any other CI can run it too. Its exit code is that
# of `kvverify check`. Inputs are environment variables, empty or absent where not wanted:
#   KVVERIFY_PATHS          certificates and folders, one a line (default: certificates)
#   KVVERIFY_CHANGED_SINCE  a git revision
#   KVVERIFY_EXPECT         a statement file
#   KVVERIFY_JUNIT, KVVERIFY_SARIF  files to write
#   KVVERIFY_BASE_PYTHON    makes the virtual environment (default: python3)
#   KVVERIFY_PYTHON         a Python that has the dependencies: nothing is installed then
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# No file of the checked folder is ever imported in place of the checker or of the standard library: hence this, -P and -I.
unset PYTHONPATH PYTHONHOME
if [[ -n ${KVVERIFY_PYTHON:-} ]]; then
    kvverify=(env "PYTHONPATH=$root" "$KVVERIFY_PYTHON" -P -m kvverify)
else
    work=$(mktemp -d "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/kvverify.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    "${KVVERIFY_BASE_PYTHON:-python3}" -m venv "$work"
    "$work/bin/python" -I -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$root"
    kvverify=("$work/bin/python" -I -m kvverify)
fi

options=()
[[ -z ${KVVERIFY_CHANGED_SINCE:-} ]] || options+=("--changed-since=$KVVERIFY_CHANGED_SINCE")
[[ -z ${KVVERIFY_EXPECT:-} ]] || options+=("--expect=$KVVERIFY_EXPECT")
[[ -z ${KVVERIFY_JUNIT:-} ]] || options+=("--junit=$KVVERIFY_JUNIT")
[[ -z ${KVVERIFY_SARIF:-} ]] || options+=("--sarif=$KVVERIFY_SARIF")

paths=()
while IFS= read -r path; do
    [[ -z $path ]] || paths+=("$path")
done <<<"${KVVERIFY_PATHS:-certificates}"

"${kvverify[@]}" check ${options[@]+"${options[@]}"} -- "${paths[@]}"
