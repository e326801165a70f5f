# shellcheck shell=bash
# What scripts/up and scripts/test share: find what this machine lacks, say it, install it.
# Sourced, not run. The caller has set root (the repository), me (its own name, for messages) and yes
# (true: do not ask). Exit codes, as everywhere in knetsim: 0 ok, 1 a negative answer, 2 an error.
: "${root:?}" "${me:?}" "${yes:?}"

# One line a need: probe | apt | dnf | pacman | zypper | why.
# probe: a command; `header:FILE:MODULE`, a C header or its pkg-config module; `certificates` of the
# usual authorities; `protos`, the types of protobuf itself; `plugin:NAME`, a CNI plugin.
# apt: alternatives by comma, the first that apt knows is taken.
run_needs() {
  cat <<'TABLE'
etcd      | etcd-server,etcd | etcd              | etcd      | etcd                 | to run: the store of each cluster
ip        | iproute2         | iproute           | iproute2  | iproute2             | to run: namespaces, links and routes
tc        | iproute2         | iproute-tc        | iproute2  | iproute2             | to run: link rate and delay
bridge    | iproute2         | iproute           | iproute2  | iproute2             | to run: what the switches have learnt
nft       | nftables         | nftables          | nftables  | nftables             | to run: the rules of services
ping      | iputils-ping     | iputils           | iputils   | iputils              | to run: the first thing one tries
ifconfig  | net-tools        | net-tools         | net-tools | net-tools-deprecated | to run: the course types ifconfig
tcpdump   | tcpdump          | tcpdump           | tcpdump   | tcpdump              | to run: see the packets
curl      | curl             | curl              | curl      | curl                 | to run: ask services and ingresses
nginx     | nginx-light,nginx | nginx            | nginx     | nginx                | to run: ingresses, and pods of the image nginx
etcdctl   | etcd-client,etcd | etcd              | etcd      | etcdctl              | to run: look into the stores
newuidmap | uidmap           | shadow-utils      | shadow    | shadow               | to run: labs without root
TABLE
}

build_needs() {
  cat <<'TABLE'
certificates                         | ca-certificates    | ca-certificates      | ca-certificates | ca-certificates | to build: crates come over https
cc                                   | gcc                | gcc                  | gcc      | gcc             | to build: the linker
header:stdio.h:libc                  | libc6-dev          | glibc-devel          | glibc    | glibc-devel     | to build: C library headers
pkg-config                           | pkg-config,pkgconf | pkgconf-pkg-config   | pkgconf  | pkgconf         | to build: finds the C libraries
protoc                               | protobuf-compiler  | protobuf-compiler    | protobuf | protobuf-devel  | to build: compiles the protocol of etcd
protos                               | libprotobuf-dev    | protobuf-devel       | protobuf | protobuf-devel  | to build: the types that this protocol imports
header:libnftnl/rule.h:libnftnl      | libnftnl-dev       | libnftnl-devel       | libnftnl | libnftnl-devel  | to build: nftables from Rust
header:libmnl/libmnl.h:libmnl        | libmnl-dev         | libmnl-devel         | libmnl   | libmnl-devel    | to build: netlink from Rust
TABLE
}

test_needs() {
  cat <<'TABLE'
unshare | util-linux | util-linux-core | util-linux | util-linux | to test: a namespace a test
nsenter | util-linux | util-linux-core | util-linux | util-linux | to test: the yardstick of topo exec
setpriv | util-linux | util-linux-core | util-linux | util-linux | to test: as a user without privileges
dig     | bind9-dnsutils,dnsutils | bind-utils | bind | bind-utils | to test: names, as people ask for them
getent  | libc-bin | glibc-common | glibc | glibc | to test: names, as programs ask for them
plugin:bridge | containernetworking-plugins | containernetworking-plugins | cni-plugins | cni-plugins | to test: real CNI plugins
TABLE
}

# Debian keeps ip, nft and tcpdump where users' PATHs do not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

cargo_bin=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
rustup_url=https://sh.rustup.rs

# fail MESSAGE [HINT]: an error, and what to do next.
fail() {
  printf '%s: %s\n' "$me" "$1" >&2
  [[ $# -lt 2 ]] || printf 'hint: %s\n' "$2" >&2
  exit 2
}

# ask QUESTION: yes by default; --yes answers it; without a terminal nobody can.
ask() {
  local answer
  [[ $yes == false ]] || return 0
  [[ -t 0 ]] || fail "there is no terminal to ask on" "add --yes to agree: $me --yes"
  read -r -p "$1 [Y/n] " answer || return 1
  [[ -z $answer || $answer == [yY]* ]]
}

# as_root COMMAND…: by sudo where the user is not root.
as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo -- "$@"
  fi
}

present() {
  local file module protoc
  case $1 in
    header:*)
      IFS=: read -r _ file module <<<"$1"
      [[ -e /usr/include/$file ]] && return 0
      if [[ $module == libc ]]; then
        printf '#include <%s>\n' "$file" | cc -E -x c - &>/dev/null
      else
        pkg-config --exists "$module" &>/dev/null
      fi
      ;;
    certificates)
      for file in "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" /etc/ssl/ca-bundle.pem \
        /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
        [[ -s $file ]] && return 0
      done
      return 1
      ;;
    protos)
      [[ -e /usr/include/google/protobuf/descriptor.proto ]] && return 0
      protoc=${PROTOC:-$(command -v protoc)} || return 1
      [[ -e ${protoc%/*}/../include/google/protobuf/descriptor.proto ]]
      ;;
    plugin:*)
      for file in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do
        [[ -x $file/${1#plugin:} ]] && return 0
      done
      return 1
      ;;
    protoc) [[ -n ${PROTOC:-} ]] || command -v protoc >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# The column of the needs tables that speaks of this machine's package manager.
manager_column() {
  local column=2 manager
  for manager in apt-get dnf pacman zypper; do
    if command -v "$manager" >/dev/null; then
      printf '%s %s\n' "$column" "$manager"
      return
    fi
    column=$((column + 1))
  done
  printf '2 none\n'
}

# Not by apt-cache's exit status: that is 0 for a name that other packages merely mention.
apt_knows() {
  [[ -n $(apt-cache show --no-all-versions "$1" 2>/dev/null) ]]
}

# apt_name ALTERNATIVES: the first that apt knows; the first of all where apt knows none yet.
apt_name() {
  local name names
  IFS=, read -r -a names <<<"$1"
  if ((${#names[@]} > 1)); then
    for name in "${names[@]}"; do
      if apt_knows "$name"; then
        printf '%s\n' "$name"
        return
      fi
    done
  fi
  printf '%s\n' "${names[0]}"
}

# missing_of: needs on stdin, those that are not there on stdout. No process is started for a tool
# that is there: this runs at every scripts/up.
missing_of() {
  local line probe
  while IFS= read -r line; do
    read -r probe _ <<<"$line"
    [[ -n $probe ]] || continue
    present "$probe" || printf '%s\n' "$line"
  done
}

# package_list COLUMN: missing needs on stdin → `package<TAB>why (probe, …)`, one line a package.
package_list() {
  awk -F ' *[|] *' -v column="$1" '
    !NF { next }
    {
      package = $column; probe = $1
      sub(/^header:/, "", probe); sub(/:.*/, "", probe)
      if (probe == "protos") probe = "descriptor.proto"
      if (probe == "certificates") probe = "ca-certificates.crt"
      if (!(package in why)) { order[++count] = package; why[package] = $6; probes[package] = probe }
      else probes[package] = probes[package] ", " probe
    }
    END {
      for (i = 1; i <= count; i++)
        printf "%s\t%s (%s)\n", order[i], why[order[i]], probes[order[i]]
    }'
}

# --- apt -----------------------------------------------------------------------------------------

# Debian starts a service when it installs etcd or nginx. knetsim starts its own inside the lab, so
# nothing may run on the host that did not run before. For the time of the installation a
# policy-rc.d refuses these services and no other; afterwards they are switched off for the next boot.
# A policy that the machine already has stays as it is; the switching off then stops the service.
policy_file=/usr/sbin/policy-rc.d
policy_ours=false

hold_services() {
  [[ ! -e $policy_file ]] || return 0
  policy_ours=true
  trap release_services EXIT
  as_root tee "$policy_file" >/dev/null <<'POLICY'
#!/bin/sh
# Written by knetsim for the time of one apt-get install; if it is still here, delete it.
for argument in "$@"; do
  case $argument in etcd | etcd.service | nginx | nginx.service) exit 101 ;; esac
done
exit 0
POLICY
  as_root chmod 755 "$policy_file"
}

release_services() {
  [[ $policy_ours == true ]] || return 0
  policy_ours=false
  as_root rm -f "$policy_file"
}

# disable_service NAME
disable_service() {
  if [[ -d /run/systemd/system ]]; then
    as_root systemctl disable --quiet --now "$1.service"
  elif command -v systemctl >/dev/null; then
    as_root systemctl disable --quiet "$1.service"
  elif [[ -e /etc/init.d/$1 ]]; then
    as_root update-rc.d "$1" disable
  fi
  printf '%s is installed, its service is not started: knetsim runs its own in the lab\n' "$1"
}

# apt_install MISSING-NEEDS EXTRA-PACKAGE…
apt_install() {
  local needs=$1 alternatives service packages=()
  shift
  as_root apt-get update -q || printf '%s: apt-get update failed, trying with the lists there are\n' "$me" >&2
  while IFS= read -r alternatives; do
    [[ -z $alternatives ]] || packages+=("$(apt_name "$alternatives")")
  done < <(package_list 2 <<<"$needs" | cut -f 1)
  packages+=("$@")

  hold_services
  # --no-remove: what is installed stays; NEEDRESTART_MODE=l: Ubuntu lists services, restarts none.
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
    apt-get install -q -y --no-install-recommends --no-remove "${packages[@]}" ||
    fail "apt-get could not install: ${packages[*]}" \
      "on Ubuntu, etcd is in the component universe: add-apt-repository universe"
  release_services
  for service in etcd nginx; do
    if [[ " ${packages[*]} " == *" $service"* ]]; then
      disable_service "$service"
    fi
  done
  hash -r
  needs=$(missing_of <<<"$needs")
  [[ -z $needs ]] || fail "installed, but still not there: $(cut -d ' ' -f 1 <<<"$needs" | tr '\n' ' ')"
}

# --- Rust ----------------------------------------------------------------------------------------

rust_wanted() {
  awk -F '"' '/^rust-version *=/ { print $2; exit }' "$root/Cargo.toml"
}

# version_least HAVE WANT
version_least() {
  local have want i
  IFS=. read -r -a have <<<"${1%%-*}"
  IFS=. read -r -a want <<<"$2"
  for i in 0 1 2; do
    ((${have[i]:-0} > ${want[i]:-0})) && return 0
    ((${have[i]:-0} < ${want[i]:-0})) && return 1
  done
  return 0
}

# rust_is_enough: cargo works, and its rustc is at least what Cargo.toml asks for. Sets rust_found.
rust_is_enough() {
  local version
  rust_found=
  command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
  # From /, so that no rust-toolchain file of the caller's directory answers instead.
  version=$(cd / && rustc --version 2>/dev/null) || return 1
  read -r _ rust_found _ <<<"$version"
  version_least "$rust_found" "$(rust_wanted)"
}

# rust_ready: what is here already, where it hides: PATH, ~/.cargo/bin, rustup's stable toolchain.
rust_ready() {
  local first_found
  rust_is_enough && return 0
  first_found=$rust_found
  if [[ -x $cargo_bin/cargo && :$PATH: != "$cargo_bin":* ]]; then
    PATH=$cargo_bin:$PATH
    rust_is_enough && return 0
  fi
  if command -v rustup >/dev/null && [[ $(rustup toolchain list 2>/dev/null) == *stable-* ]]; then
    # For this command only: the user's default toolchain stays what it is.
    RUSTUP_TOOLCHAIN=stable rust_is_enough && export RUSTUP_TOOLCHAIN=stable && return 0
  fi
  rust_found=${rust_found:-$first_found}
  return 1
}

# rust_way: how a missing Rust would come: rustup (it is here), apt (Debian 13, Ubuntu 24.04) or
# script. Beside a cargo or rustc from apt the rustup package cannot be installed.
rust_way() {
  if command -v rustup >/dev/null; then
    printf 'rustup\n'
  elif command -v apt-get >/dev/null && ! command -v rustc >/dev/null && ! command -v cargo >/dev/null &&
    apt_knows rustup; then
    printf 'apt\n'
  else
    printf 'script\n'
  fi
}

rust_explain() {
  local has='none was found' cargo_home=${cargo_bin%/bin} rustup_home=${RUSTUP_HOME:-${HOME:-/root}/.rustup}
  [[ -z $rust_found ]] || has="this machine has $rust_found"
  printf 'To build, Rust %s or newer is needed; %s.\n' "$(rust_wanted)" "$has"
  case $1 in
    rustup) printf 'rustup will add its stable toolchain; your default toolchain stays.\n' ;;
    apt) printf 'The package rustup will fetch the stable toolchain into %s (about 300 MB).\n' "$rustup_home" ;;
    script)
      printf 'rustup, the installer of the Rust project, will be fetched from %s and will put\n' "$rustup_url"
      printf 'the stable toolchain (about 300 MB) into %s and %s.\n' "$cargo_home" "$rustup_home"
      printf 'No profile file is changed.\n'
      ;;
  esac
  if [[ -n ${SUDO_USER:-} && $EUID -eq 0 ]]; then
    printf 'As root by sudo this does not see the Rust of %s; without sudo, %s asks for sudo itself.\n' "$SUDO_USER" "$me"
  fi
}

# rust_install WAY
rust_install() {
  local script
  if [[ $1 == script ]]; then
    script=$(mktemp)
    curl --proto '=https' --tlsv1.2 -sSf -o "$script" "$rustup_url" || {
      rm -f "$script"
      fail "rustup could not be fetched from $rustup_url" "install Rust $(rust_wanted) or newer by other means and run this again"
    }
    # -y: the question was asked already; beside a Rust of the distribution it would ask again.
    sh "$script" -y --quiet --profile minimal --default-toolchain stable --no-modify-path || {
      rm -f "$script"
      fail "rustup could not install Rust"
    }
    rm -f "$script"
  else
    rustup toolchain install stable --profile minimal ||
      fail "rustup could not install the stable toolchain"
  fi
  hash -r
  rust_ready || fail "Rust $(rust_wanted) or newer is needed, but the stable toolchain is ${rust_found:-not usable}"
}

# --- all of it -----------------------------------------------------------------------------------

# prepare GROUP…: everything of the groups run, build, test, and Rust. Says nothing where nothing is
# missing.
prepare() {
  local group needs column manager way='' names
  needs=$(for group in "$@"; do "${group}_needs"; done | missing_of)
  if ! rust_ready; then
    way=$(rust_way)
  fi
  [[ -n $needs || -n $way ]] || return 0

  read -r column manager <<<"$(manager_column)"
  if [[ $manager == apt-get ]]; then
    prepare_by_apt "$needs" "$way"
  elif [[ -n $needs ]]; then
    names=$(package_list "$column" <<<"$needs" | cut -f 1 | sort -u | tr '\n' ' ')
    names=${names% }
    package_list "$column" <<<"$needs" | print_list >&2
    case $manager in
      dnf) fail "the packages above are missing" "sudo dnf install $names" ;;
      pacman) fail "the packages above are missing" "sudo pacman -S --needed $names" ;;
      zypper) fail "the packages above are missing" "sudo zypper install $names" ;;
      *) fail "the tools above are missing" "the names are Debian's packages; install what your system calls them" ;;
    esac
  fi
  [[ -n $way ]] || return 0
  if [[ $way == script && $manager == apt-get && -n $needs ]]; then
    # apt may have had no lists before.
    way=$(rust_way)
    [[ $way != apt ]] || prepare_by_apt '' apt
  fi
  if [[ $way != apt ]]; then
    rust_explain "$way"
    ask "Install Rust with rustup?" || { printf 'Nothing was installed for Rust.\n'; exit 1; }
  fi
  rust_install "$way"
}

# print_list: `package<TAB>why` as one aligned list.
print_list() {
  awk -F '\t' '{ printf "  %-20s %s\n", $1, $2 }'
}

prepare_by_apt() {
  local needs=$1 way=$2 extra=() package why
  [[ $way != apt ]] || extra=(rustup)
  [[ -n $needs || ${#extra[@]} -gt 0 ]] || return 0
  ((EUID == 0)) || command -v sudo >/dev/null ||
    fail "packages are missing, and there is no sudo" \
      "as root: apt-get install --no-install-recommends $(package_list 2 <<<"$needs" | cut -d , -f 1 | cut -f 1 | tr '\n' ' ')"

  printf 'knetsim needs these packages, which are not installed:\n'
  {
    package_list 2 <<<"$needs" | while IFS=$'\t' read -r package why; do
      [[ -z $package ]] || printf '%s\t%s\n' "$(apt_name "$package")" "$why"
    done
    [[ $way != apt ]] || printf 'rustup\tto build: the Rust toolchain (cargo, rustc)\n'
  } | print_list
  [[ $way != apt ]] || rust_explain apt
  ask "Install these with apt?" || { printf 'Nothing was installed.\n'; exit 1; }
  apt_install "$needs" ${extra[@]+"${extra[@]}"}
}
