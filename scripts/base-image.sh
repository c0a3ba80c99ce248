#!/bin/sh
# Make the base image of the Dockerfile on this machine, for where no registry can be reached.
#
# The image gets the very name that the Dockerfile asks for, so that the Dockerfile that is tried is the one that users
# get. It is a Debian with its own Python in place of the official image's: the same release, laid out a little
# differently. Needs root, debootstrap, buildah, and a Debian mirror (MIRROR).
set -eu

here=$(dirname "$0")
name=${1:-$(sed -n 's/^ARG PYTHON_IMAGE=//p' "$here/../Dockerfile" | head -n 1)}
suite=bookworm # its Python is 3.11
mirror=${MIRROR:-http://deb.debian.org/debian}

test -n "$name" || { echo "no ARG PYTHON_IMAGE= in the Dockerfile" >&2; exit 2; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM

debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates "$suite" "$root" "$mirror"

# What a slim image leaves out.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/doc/* \
    "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/info/*
find "$root"/usr/lib/python3* -name __pycache__ -prune -exec rm -rf {} +
mkdir -p "$root/var/log" "$root/var/cache/apt/archives/partial"

# The official image has its Python in /usr/local/bin, and its pip may install beside it.
for word in python python3 python3.11; do ln -s /usr/bin/python3.11 "$root/usr/local/bin/$word"; done
ln -s /usr/bin/pip3 "$root/usr/local/bin/pip"
rm -f "$root"/usr/lib/python3.11/EXTERNALLY-MANAGED
# A machine that reaches packages through a proxy with a certificate of its own trusts it; the image then does too.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$root/etc/pip.conf"

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / > /dev/null
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 \
    --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$name"
echo "made $name: $(buildah images --format '{{.Size}}' "$name")"
