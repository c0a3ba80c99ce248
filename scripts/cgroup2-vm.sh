#!/bin/sh
# Run the contract of the cgroup2 back end on a machine that has no controllers to spare: in a virtual machine that
# boots a Debian kernel, sees this machine's files read-only, and keeps its changes in memory.
#
#   scripts/cgroup2-vm.sh            the contract suite: as root in a group of its own, and as a user to whom one was
#                                    delegated; then benchmarks/limits.py
#   scripts/cgroup2-vm.sh COMMAND…   that command instead, as root
#   SYSTEMD=1 scripts/cgroup2-vm.sh  under systemd: that `fitserve serve` gets a scope of its own there, and that the unit of
#                                    docs/systemd.md starts, holds limits and stops; with a COMMAND, that instead
#
# Needs: qemu-system-x86_64, a static busybox, cpio, and a Debian kernel: KERNEL=vmlinuz and MODULES=/lib/modules/…,
# or apt-get and dpkg-deb, with which one is downloaded once into ~/.cache and unpacked, not installed.
# ACCEL=tcg emulates where /dev/kvm does not work; all of it takes about seven minutes then.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fitserve-vm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tool in qemu-system-x86_64 busybox cpio; do
    command -v $tool >/dev/null || { echo "cgroup2-vm.sh needs $tool" >&2; exit 3; }
done

if [ -z "${KERNEL:-}" ]; then
    if ! ls "$cache"/boot/vmlinuz-* >/dev/null 2>&1; then
        mkdir -p "$cache"
        package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1)
        (cd "$work" && apt-get download -qq "$package" && dpkg-deb -x ./*.deb "$cache")
    fi
    KERNEL=$(ls "$cache"/boot/vmlinuz-* | head -n 1)
    MODULES=$(ls -d "$cache"/lib/modules/* | head -n 1)
fi

# The first files: busybox, what it takes to see our files, and the two scripts below.
root=$work/root
mkdir -p "$root/bin" "$root/modules"
cp "$(command -v busybox)" "$root/bin/busybox"
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p overlay; do
    file=$(find "$MODULES" -name "$module.ko*" | head -n 1)
    case $file in
        '') continue ;; # built in, or of another version
        *.xz) xz -dc "$file" >"$root/modules/$module.ko" ;;
        *) cp "$file" "$root/modules/$module.ko" ;;
    esac
done

cat >"$root/init" <<'EOF'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /lower /memory /new
mount -t proc proc /proc
mount -t sysfs sys /sys
for pass in 1 2 3; do # they depend on each other
    for module in /modules/*.ko; do insmod $module 2>/dev/null && rm $module; done
done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro files /lower
mount -t tmpfs -o size=75% memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work overlay /new
for what in proc sys dev tmp run; do mkdir -p /new/$what; done
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/shm && mount -t tmpfs shm /new/dev/shm && chmod 1777 /new/dev/shm
mount -t tmpfs tmp /new/tmp && chmod 1777 /new/tmp
mount -t tmpfs run /new/run
mount -t cgroup2 -o nsdelegate cgroup2 /new/sys/fs/cgroup
ip link set lo up
cp /guest /new/run/guest
cp /command /new/run/command
if [ -e /systemd ]; then # which is then process 1, with nothing of this machine's but the one unit
    mkdir -p /new/run/systemd/system
    cp /systemd /new/run/systemd/system/guest.service
    exec chroot /new /lib/systemd/systemd --unit=guest.service --log-target=console --show-status=no
fi
chroot /new /bin/sh /run/guest
echo "guest ended with $?"
poweroff -f
EOF

cat >"$root/guest" <<EOF
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1
cd "$here"
chmod 1777 /var/tmp
python="$here/.venv/bin/python"
EOF
cat >>"$root/guest" <<'EOF'
groups=/sys/fs/cgroup
uname -sr
if [ -d /run/systemd/system ]; then
    [ -s /run/command ] && { sh /run/command; exit; }
    sh scripts/systemd-trial.sh "$python"
    exit
fi
echo "controllers: $(cat $groups/cgroup.controllers)"
echo "+cpu +memory +pids" >$groups/cgroup.subtree_control
suite="$python -m pytest -p no:cacheprovider tests/registry/limits -k Cgroup2 -rs --timeout 300"
inside() { # inside GROUP COMMAND…: a shell of its own, since $$ is the same in all subshells of one
    group=$groups/$1
    shift
    mkdir -p "$group" && sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
}
works="$python -c __import__('registry.limits').limits.choose_backend(force='cgroup2').close()" # or all is skipped
if [ -s /run/command ]; then
    inside session sh /run/command
    exit $?
fi
echo "== as root, in a group of its own"
inside session $works && inside session $suite || exit 1
echo "== left in that group: $(ls -d $groups/session/*/ 2>/dev/null | wc -l) groups, subtree control '$(cat $groups/session/cgroup.subtree_control)'"
echo "== as a user to whom a group was delegated"
for path in "$(readlink -f "$python")" "$PWD/tests"; do # a user must get there; this stays in the guest's memory
    while path=$(dirname "$path") && [ "$path" != / ]; do chmod o+x "$path"; done
done
mkdir -p $groups/users/seven && chown -R 65534 $groups/users/seven
echo "+cpu +memory +pids" >$groups/users/cgroup.subtree_control
user="setpriv --reuid=65534 --regid=65534 --clear-groups"
inside users/seven $user $works && inside users/seven $user $suite || exit 1
echo "== as root, in the root group"
inside . $works && inside . $suite || exit 1
echo "== how well limits hold"
inside session $python benchmarks/limits.py cgroup2
EOF
if [ -n "${SYSTEMD:-}" ]; then
    cat >"$root/systemd" <<'EOF'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
ExecStart=/bin/sh -c '/bin/sh /run/guest; echo "guest ended with $$?"; systemctl poweroff -ff'
EOF
fi
: >"$root/command"
[ $# -eq 0 ] || printf '%s\n' "$*" >"$root/command"
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initramfs"

# A virtual machine that is one itself may have a /dev/kvm that does not work: ACCEL=tcg does without.
[ -n "${ACCEL:-}" ] || { [ -w /dev/kvm ] && ACCEL=kvm || ACCEL=tcg; }
accelerate="-accel $ACCEL -cpu max"
# shellcheck disable=SC2086 # several words on purpose
qemu-system-x86_64 $accelerate -smp 2 -m 3G -nographic -no-reboot -monitor none -serial stdio -nic none \
    -kernel "$KERNEL" -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1" \
    -fsdev local,id=files,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=files,mount_tag=files </dev/null | tee "$work/log"
grep -q '^guest ended with 0' "$work/log"
