# Sourced by scripts/test and scripts/demo: what a fresh Debian machine with Node lacks.
#
# Packages are installed when they are missing, as root or through sudo without a password. What cannot be had is
# named, and the run goes on.

say() { printf '%s: %s\n' "${0#./}" "$*" >&2; }

# A command, an absolute path, or a library that the dynamic loader finds.
have() {
  case "$1" in
    /*) [ -e "$1" ] ;;
    lib*.so*) { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -qF "$1" ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

missing_packages() {
  local pair missing=()
  for pair in "$@"; do
    have "${pair#*:}" || missing+=("${pair%%:*}")
  done
  [ ${#missing[@]} -eq 0 ] || printf '%s\n' "${missing[@]}" | sort -u
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_be_root() { [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }; }

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@"; }

# install_packages PACKAGE:WHAT…: installs each package whose WHAT (command, path, library) is not there.
install_packages() {
  local missing package policy=/usr/sbin/policy-rc.d own_policy=0
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null 2>&1 || ! can_be_root; then
    say "cannot install (not Debian, or neither root nor sudo):" $missing
    return 0
  fi
  say "installing:" $missing
  apt update >/dev/null || say "apt-get update failed; trying with the lists at hand"
  # docker-registry would start a service on port 5000.
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    own_policy=1
  fi
  for package in $missing; do
    apt install --no-install-recommends -y "$package" >/dev/null 2>&1 ||
      { [ "$package" = libfuse2 ] && apt install --no-install-recommends -y libfuse2t64 >/dev/null 2>&1; } ||
      say "could not install $package"
  done
  [ "$own_policy" -eq 0 ] || as_root rm -f "$policy"
}

# Debian's fuse3 lets everybody open /dev/fuse by a udev rule; where no udev runs (containers, small virtual machines) an
# ordinary user could not mount.
open_fuse_device() {
  [ -c /dev/fuse ] || return 0
  if [ -r /dev/fuse ] && [ -w /dev/fuse ]; then return 0; fi
  can_be_root && as_root chmod 0666 /dev/fuse || say "/dev/fuse cannot be opened by $(id -un): nothing can be mounted"
}

check_node() {
  command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 ||
    { say "node and npm are needed (Node 20.19 or newer)"; exit 1; }
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    { say "Node $(node --version) is too old: 20.19 or newer is needed"; exit 1; }
}

# npm ci starts over each time: not when the tree is already what the lock file says.
install_modules() {
  local stamp=node_modules/.package-lock.json
  # A link belongs to another tree (git worktrees share one): npm ci would empty that.
  [ ! -L node_modules ] || return 0
  if [ -e "$stamp" ] && [ ! package-lock.json -nt "$stamp" ] && npm ls --all >/dev/null 2>&1; then return 0; fi
  npm ci --no-audit --no-fund
}

# Modules, TypeScript, and the addon where there is a compiler.
build_all() {
  install_modules
  npm run --silent build
  node scripts/build-native.mjs
}
