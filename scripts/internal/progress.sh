# For scripts that build, to be read by bash: what a build does is shown while it does it,
# each step's time is printed, and a log is kept and named unless all goes well.
#
#   begin NAME              a log, and a folder for temporary files: $log, $scratch
#   step NAME COMMAND...    runs it, and prints how long it took
#   fetch PACKAGE...        fetches the modules of the packages and of their tests, a line each
#   compile OUT PACKAGE...  builds, and says how many packages are done of those to build
#   logged COMMAND...       runs it; what it prints goes to the log as well
#   finish                  all went well: the log is removed
#
# build_flags are for go list and go build. Both scripts build with the same, so that the
# second finds what the first built.
build_flags=()
times=

begin() {
  name=$1
  scratch=$(mktemp -d)
  log=$(mktemp "${TMPDIR:-/tmp}/wasmhost-$name.XXXXXX")
  trap 'interrupted=1' INT TERM
  trap ended EXIT
}

ended() {
  local code=$?
  rm -rf "$scratch"
  if [ -n "$log" ]; then
    [ -z "${interrupted:-}" ] || echo "$name: interrupted" >&2
    echo "$name: its log is $log${times:+; ended:$times}" >&2
  fi
  if [ -n "${interrupted:-}" ]; then exit 130; fi
  exit "$code"
}

finish() {
  rm -f "$log"
  log=
  echo "$name:$times"
}

step() {
  local what=$1 began=$SECONDS code=0
  shift
  echo "=== $what"
  "$@" || code=$?
  times+="${times:+,} $what $((SECONDS - began)) s"
  if [ -n "${interrupted:-}" ]; then exit 130; fi
  if [ "$code" != 0 ]; then exit "$code"; fi
  echo "=== $what: $((SECONDS - began)) s"
}

# lines FUNCTION: gives it each line of standard input, which goes to the log as well. An
# interrupt ends what writes the lines, and so this.
lines() {
  local line
  trap '' INT
  while IFS= read -r line; do
    printf '%s\n' "$line" >> "$log"
    "$1" "$line"
  done
}

logged() { "$@" 2>&1 | (trap '' INT; exec tee -a "$log"); }

fetch() {
  fetched=0
  needed=$(grep -cE '^[[:space:]]+[^ ]+ v' go.mod)
  go list ${build_flags[@]+"${build_flags[@]}"} -deps -test -f '{{.ImportPath}}' "$@" 2>&1 > "$scratch/packages" | lines fetched
}

fetched() {
  case $1 in
    "go: downloading "*) fetched=$((fetched + 1)); echo "module $fetched of at most $needed: ${1#go: downloading }" ;;
    *) echo "$1" >&2 ;;
  esac
}

compile() {
  local out=$1
  shift
  built=0
  to_build=$(go list ${build_flags[@]+"${build_flags[@]}"} -deps -f '{{if .Stale}}stale{{end}}' "$@" 2>> "$log" | grep -c stale || true)
  shown=$SECONDS
  echo "packages to build: $to_build"
  go build ${build_flags[@]+"${build_flags[@]}"} -v -o "$out" "$@" 2>&1 | lines built
}

built() {
  case $1 in
    *" "*|"") echo "$1" >&2 ;; # what the compiler says
    *)
      built=$((built + 1))
      if [ $((SECONDS - shown)) -ge 5 ]; then
        shown=$SECONDS
        echo "packages built: $built of $to_build, now $1"
      fi ;;
  esac
}
