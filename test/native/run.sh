#!/bin/sh
# Builds and runs the tests of the native files: the pure ones (native/{checksum,segment,fragment,coalesce}.cc) wherever
# they run, those that call the kernel (native/{tun,udp,udp_sender,path_mtu,peer_filter,steering}.cc) on this machine. TAP on standard
# output.
#
#   run.sh [--asan]          for this machine, with AddressSanitizer and UndefinedBehaviorSanitizer (the default)
#   run.sh --arm64           cross-compiled for arm64 and run under qemu, at TEST_SCALE=5 unless it is set
#   run.sh --fuzz SECONDS    each libFuzzer target for SECONDS; an input that breaks one is kept and tried again
#
# Several may be given. Environment: NATIVE_TEST_BUILD (build directory; default build/native-test in the repository),
# TEST_SEED and TEST_SCALE (test/native/random.h), CXX.
# Exit code: 0 when all passed, 1 when a test failed, 2 when a tool is missing or the arguments are wrong.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${NATIVE_TEST_BUILD:-$root/build/native-test}
warnings='-Wall -Wextra -Wsign-compare -Wconversion -Werror'
pure='checksum segment fragment coalesce'
kernel='tun udp udp_sender path_mtu peer_filter steering set_up_error'
pure_tests='checksum segment segment_lies fragment coalesce coalesce_random round_trip'
targets='segment_fuzz fragment_fuzz coalesce_fuzz'
failed=0

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

# need TOOL PACKAGE
need() {
  command -v "$1" >/dev/null 2>&1 && return
  echo "test/native/run.sh: $1 is missing: apt-get install $2" >&2
  exit 2
}

# Compiles the pure files with FLAGS, and the tests unoptimised: that takes less time than it costs them.
# build_tests DIRECTORY COMPILER FLAGS...
build_tests() {
  out=$1
  compiler=$2
  shift 2
  mkdir -p "$out"
  objects=
  for name in $sources; do
    # shellcheck disable=SC2086
    "$compiler" -std=c++20 $warnings "$@" -c "$root/native/$name.cc" -o "$out/$name.o"
    objects="$objects $out/$name.o"
  done
  compilers=
  for name in $tests; do
    # shellcheck disable=SC2086
    "$compiler" -std=c++20 $warnings "$@" -O0 "$root/test/native/${name}_test.cc" $objects -o "$out/${name}_test" &
    compilers="$compilers $!"
  done
  for pid in $compilers; do wait "$pid"; done
}

# The test programs number their own lines; one TAP stream needs one numbering and one plan.
# run_tests LABEL DIRECTORY RUNNER...
run_tests() {
  label=$1
  out=$2
  shift 2
  for name in $tests; do
    status=0
    "$@" "$out/${name}_test" >"$out/$name.tap" 2>"$out/$name.err" || status=$?
    awk -v label="$label, $name" '
      /^(not )?ok / { sub(/ok [0-9]+ - /, "ok - " label ": "); print; next }
      /^1\.\.[0-9]+$/ { next }
      { print }' "$out/$name.tap" >>"$stream"
    sed 's/^/# /' "$out/$name.err" >>"$stream"
    # A program that crashed prints no "not ok" of its own.
    if [ "$status" -ne 0 ] && ! grep -q '^not ok' "$out/$name.tap"; then
      echo "not ok - $label, $name: ended with status $status" >>"$stream"
    elif ! grep -q '^1\.\.' "$out/$name.tap"; then
      echo "not ok - $label, $name: ended before its plan" >>"$stream"
    fi
  done
}

run_asan() {
  compiler=${CXX:-g++}
  need "$compiler" g++
  sources="$pure $kernel"
  tests="$pure_tests sockets underlay peer_filter"
  # A sanitizer's finding ends the program.
  build_tests "$build/asan" "$compiler" -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
    -fno-sanitize-recover=all
  # Allocations are remembered with two callers: with all of them the coalescer's tests take ten times as long. Set
  # ASAN_OPTIONS to an empty string to see more of a finding.
  run_tests asan "$build/asan" env ASAN_OPTIONS="${ASAN_OPTIONS-malloc_context_size=2}"
}

run_arm64() {
  need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
  need qemu-aarch64 qemu-user
  sources=$pure
  tests=$pure_tests
  build_tests "$build/arm64" aarch64-linux-gnu-g++ -O2 -static
  run_tests arm64 "$build/arm64" env TEST_SCALE="${TEST_SCALE:-5}" qemu-aarch64
}

# fuzz_one TARGET SECONDS
fuzz_one() {
  crashes="$build/fuzz/crashes/$1"
  mkdir -p "$crashes" "$build/fuzz/corpus/$1"
  status=0
  "$build/fuzz/$1" -max_total_time="$2" -max_len=4096 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$crashes/" "$build/fuzz/corpus/$1" "$crashes" >"$build/fuzz/$1.log" 2>&1 || status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz/$1.log")
  if [ "$status" -eq 0 ]; then
    echo "ok - fuzz, $1: $2 s, ${runs:-0} inputs" >>"$stream"
  else
    tail -n 40 "$build/fuzz/$1.log" | sed 's/^/# /' >>"$stream"
    echo "not ok - fuzz, $1: status $status, input kept in $crashes" >>"$stream"
  fi
}

run_fuzz() {
  need clang++ 'clang libclang-rt-14-dev'
  mkdir -p "$build/fuzz"
  for target in $targets; do
    sources="$root/native/fuzz/$target.cc"
    for name in $pure; do sources="$sources $root/native/$name.cc"; done
    # shellcheck disable=SC2086
    clang++ -std=c++20 $warnings -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined \
      -fno-sanitize-recover=all $sources -o "$build/fuzz/$target"
    fuzz_one "$target" "$1"
  done
}

modes=
seconds=
while [ $# -gt 0 ]; do
  case $1 in
    --asan | --arm64) modes="$modes ${1#--}" ;;
    --fuzz)
      [ $# -ge 2 ] || usage
      case $2 in '' | *[!0-9]*) usage ;; esac
      modes="$modes fuzz"
      seconds=$2
      shift
      ;;
    *) usage ;;
  esac
  shift
done

mkdir -p "$build"
stream=$(mktemp "$build/tap.XXXXXX")
trap 'rm -f "$stream"' EXIT
number=0
for mode in ${modes:-asan}; do
  : >"$stream"
  case $mode in
    asan) run_asan ;;
    arm64) run_arm64 ;;
    fuzz) run_fuzz "$seconds" ;;
  esac
  awk -v number="$number" '/^(not )?ok - / { sub(/ok - /, "ok " ++number " - ") } { print }' "$stream"
  if grep -q '^not ok' "$stream"; then failed=1; fi
  number=$((number + $(grep -cE '^(not )?ok - ' "$stream" || true)))
done
echo "1..$number"
exit "$failed"
