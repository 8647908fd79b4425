#!/usr/bin/env bash
# Builds starknet-devnet where it is missing, outside target/, and prints where it is.
# The stories run on it:
#   tests/starknet/build-node.sh && cargo nextest run -p tollway-test-starknet --features node
#   cargo nextest run -p tollway --features starknet-node --test stories sessions::
set -euo pipefail
version=0.10.1
root=$HOME/.cache/tollway/starknet-devnet-$version
if [ ! -x "$root/bin/starknet-devnet" ]; then
  echo "building starknet-devnet $version: about 20 minutes on two cores, 2.5 GB while it builds" >&2
  build=$(mktemp -d)
  trap 'rm -rf "$build"' EXIT
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
    cargo install starknet-devnet --version "$version" --locked --root "$root" --target-dir "$build"
fi
echo "$root/bin/starknet-devnet"
