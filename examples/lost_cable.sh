#!/usr/bin/env bash
# A headend with the configuration beside this script, and a client that loses its cable and comes back.
#     bash examples/lost_cable.sh
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'kill "${headend:-}" 2>/dev/null || true; wait; rm -r "$work"' EXIT

"$python" -m asa_emu serve "$here/branch-office.cfg" --listen 127.0.0.1:0 \
  --state "$work" --ready-file "$work/ready.json" &
headend=$!
until [ -e "$work/ready.json" ]; do
  kill -0 "$headend"
  sleep 0.1
done
fact() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/ready.json" "$1"; }

echo correct-horse >"$work/password"
"$python" -m client_emu connect "https://$(fact https)/staff" --pin "$(fact pin)" \
  --user erika --password-file "$work/password" --json --script "$here/lost_cable.toml"
"$python" -m asa_emu console --ready-file "$work/ready.json" -c 'show vpn-sessiondb'
