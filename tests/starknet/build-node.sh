#!/usr/bin/env bash
# Builds starknet-devnet where it is missing, outside target/, and prints where it is.
# $STARKNET_DEVNET names another one, which is then taken as it is.
# The stories run on it:
#   tests/starknet/build-node.sh && cargo nextest run -p tollway-test-starknet --features node
#   cargo nextest run -p tollway --features starknet-node --test stories sessions::
set -euo pipefail
version=0.10.1

fail() {
  printf '%s\n' "$1" "Then run this again; or name a starknet-devnet $version in STARKNET_DEVNET; or leave the node out: ./test --quick" >&2
  exit 1
}

if [ -n "${STARKNET_DEVNET:-}" ]; then
  [ -x "$STARKNET_DEVNET" ] || fail "STARKNET_DEVNET is $STARKNET_DEVNET, which is no program: correct or unset it."
  echo "$STARKNET_DEVNET"
  exit
fi

root=$HOME/.cache/tollway/starknet-devnet-$version
program=$root/bin/starknet-devnet
if [ ! -x "$program" ]; then
  mkdir -p "$root"
  # Whoever comes second waits for the first. A build that was cut short goes on where it was.
  exec 9>"$root/lock"
  flock 9
fi
if [ ! -x "$program" ]; then
  echo "building starknet-devnet $version: about 20 minutes on two idle cores, 2.5 GB while it builds" >&2
  # Only so much of it is optimised, and nothing of it is debugged.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
    cargo install starknet-devnet --version "$version" --locked --root "$root" --target-dir "$root/build" >&2 ||
    fail "starknet-devnet $version could not be built; cargo says why above. It needs cargo's registry to fetch from, and 3 GB in $root."
  rm -rf "$root/build"
  echo "built in $SECONDS s" >&2
fi
found=$("$program" --version 2>&1) || true
[ "$found" = "starknet-devnet $version" ] ||
  fail "$program does not run (it says: $found). Remove $root, so that it is built anew."
echo "$program"
