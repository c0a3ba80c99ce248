#!/bin/sh
# Called by cgroup2-vm.sh under systemd as process 1: systemd-trial.sh PYTHON
#
# First `fitserve serve` from a shell, whose group systemd has not handed over; then the unit of docs/systemd.md, with
# another user's number and this checkout's fitserve.
set -u
python=$1
fitserve="$(dirname "$python")/fitserve"
failed=0

check() { # check WHAT FOUND WANTED
    case $2 in
        *$3*) echo "right: $1: $2" ;;
        *) echo "WRONG: $1: $2, not $3" && failed=1 ;;
    esac
}

ask() { # ask PATH: what the gateway says, as soon as it says something
    "$python" - "$1" <<'PYTHON'
import sys, time, urllib.request
for _ in range(120):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8080" + sys.argv[1], timeout=20).read().decode())
        break
    except OSError:
        time.sleep(0.5)
PYTHON
}

"$python" -c 'import joblib; from sklearn.svm import SVC; joblib.dump(SVC().fit([[0.0], [1.0]], [0, 1]), "/run/model.joblib")'

echo "== fitserve serve from a shell"
export FITSERVE_WORKSPACE=/run/workspace
"$fitserve" register /run/model.joblib --name tiny >/dev/null
"$fitserve" serve >/run/serve.log 2>&1 &
gateway=$!
ask /readyz >/dev/null
check "what it said" "$(grep -m 1 'control groups' /run/serve.log)" "asking systemd"
check "its group" "$(cat /proc/$gateway/cgroup)" "fitserve-$gateway.scope"
check "limits" "$(ask /models/tiny | grep -o '"enforcement":"[a-z0-9]*"' | head -n 1)" cgroup2
kill "$gateway"
wait "$gateway"
check "its end" $? 0
for _ in $(seq 20); do # systemd hears of an empty group a little later
    left=$(systemctl list-units --no-legend 'fitserve-*.scope')
    [ -z "$left" ] && break
    sleep 1
done
check "scopes left" "none$left" none
[ -z "$left" ] || { failed=1 && systemd-cgls --no-pager "/system.slice/fitserve-$gateway.scope"; }

echo "== the unit of docs/systemd.md"
unset FITSERVE_WORKSPACE
for path in "$(readlink -f "$python")" "$PWD/gateway"; do # a user must get there; this stays in the guest's memory
    while path=$(dirname "$path") && [ "$path" != / ]; do chmod o+x "$path"; done
done
# Homes are hidden from the unit, and this checkout's Python may lie in one.
sed -n '/^```ini/,/^```/p' docs/systemd.md | sed '/^```/d' | sed "s|/opt/fitserve/bin/fitserve|$fitserve|; s|^User=.*|User=65534|; \
    s|^ProtectHome=yes|ProtectHome=no|; /^After=/d; /^Wants=/d" >/run/systemd/system/fitserve.service
sed -i '/^\[Unit\]/a DefaultDependencies=no
/^\[Service\]/a StandardOutput=file:/run/unit.log\nStandardError=file:/run/unit.log' /run/systemd/system/fitserve.service
systemctl daemon-reload
systemctl start fitserve
check "started" "$(systemctl is-active fitserve)" active
ask /healthz >/dev/null
runuser() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp FITSERVE_WORKSPACE=/var/lib/fitserve/workspace "$@"; }
chmod o+r /run/model.joblib
check "register" "$(runuser "$fitserve" register /run/model.joblib --name tiny)" "registered tiny:1"
ask /readyz >/dev/null
check "limits" "$(ask /models/tiny | grep -o '"enforcement":"[a-z0-9]*"' | head -n 1)" cgroup2
systemctl stop fitserve
[ $failed = 0 ] || cat /run/unit.log
check "stopped" "$(systemctl show -p Result -p ActiveState --value fitserve | tr '\n' ' ')" "success inactive"
exit $failed
