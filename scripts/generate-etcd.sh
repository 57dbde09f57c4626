#!/usr/bin/env bash
# Makes src/lease/etcd/gen from proto/etcd; another directory may be given: generate-etcd.sh DIRECTORY.
# Needs protoc (Debian package protobuf-compiler).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-src/lease/etcd/gen}

mkdir -p "$out"
protoc --plugin=protoc-gen-es=node_modules/.bin/protoc-gen-es \
  --es_out="$out" --es_opt=target=ts,import_extension=js \
  --proto_path=proto/etcd kv.proto rpc.proto
