#!/usr/bin/env bash
# Makes a virtual environment with hailod in it, and installs the Debian packages that its tests need.
#
#   tools/setup.sh [VENV [CONSTRAINTS [EXTRAS]]]          by default: .venv, no constraints, test,lint
#
# Without the extra `test` no Debian package is asked for, and root is not needed. Extras come on top of those that the
# environment has already.
#
# PYTHON names the interpreter; without it the newest that is installed serves. A second run finds that nothing changed
# and is over at once, without the network. Everything that the tools say goes to .cache/setup.log.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:-.venv}
constraints=${2:-}
extras=${3:-test,lint}
log=.cache/setup.log
steps=4

# Real peers of the tests: an MQTT broker, and GStreamer's RTSP server under the system's Python.
debian_packages=(
    mosquitto
    python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gstreamer-1.0
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
)

main() {
    mkdir -p .cache
    exec 9>.cache/setup.lock
    flock 9 # two at the same time would install over each other

    local missing=()
    if [[ ,$extras, == *,test,* ]]; then
        mapfile -t missing < <(missing_packages)
    fi
    if [[ ${#missing[@]} == 0 ]] && up_to_date; then
        return
    fi
    : >"$log"

    local python
    python=$(choose_python)
    step 1 "Python: $python ($("$python" -c 'import platform; print(platform.python_version())'))"

    local pip=("$venv/bin/python" -m pip) without_pip=()
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        if may_install; then
            missing+=("$(venv_package "$python")")
        else
            without_pip=(--without-pip)
            "$python" -m pip --version >/dev/null 2>&1 || fetch_pip "$python" || fail "$(without_any_pip "$python")"
            pip=("$python" -m pip --python "$venv/bin/python")
        fi
    fi
    step 2 "Debian packages: ${missing[*]:-all there}"
    if [[ ${#missing[@]} != 0 ]]; then
        install_packages "${missing[@]}"
    fi

    step 3 "virtual environment: $venv"
    local clear=()
    if [[ $(identity "$venv/bin/python") != "$(identity "$python")" ]]; then
        clear=(--clear)
        rm -f "$venv/.up-to-date"
    fi
    extras=$(all_extras)
    rm -f "$venv/.up-to-date"
    logged "$python" -m venv "${clear[@]}" "${without_pip[@]}" "$venv" || fail "the virtual environment could not be made"

    step 4 "Python packages: hailod with [$extras]${constraints:+ and $constraints}, some $(megabytes) MB the first time"
    logged "${pip[@]}" install --disable-pip-version-check --no-input \
        ${constraints:+--constraint "$constraints"} --editable ".[$extras]" ||
        fail "pip could not install the Python packages"
    { fingerprint; echo "$extras"; } >"$venv/.up-to-date"
}

megabytes() { if [[ ,$extras, == *,test,* ]]; then echo 250; else echo 200; fi; }

step() { printf '[%d/%d] %s\n' "$1" "$steps" "$2"; }

fail() {
    printf '\nsetup: %s\n' "$1" >&2
    if [[ -s $log ]]; then
        printf 'setup: the end of %s:\n' "$log" >&2
        tail -n 25 "$log" | sed 's/^/    /' >&2
    fi
    exit 1
}

# Run a command with its output in the log; on a terminal the newest line of it shows that something happens.
logged() {
    printf '$ %s\n' "$*" >>"$log"
    "$@" </dev/null 2>&1 | tee -a "$log" | newest_line
}

newest_line() {
    if [[ ! -t 1 ]]; then
        cat >/dev/null
        return
    fi
    local line width
    width=$(($(tput cols 2>/dev/null || echo 80) - 8))
    while IFS= read -r line; do
        printf '\r\033[K      %.*s' "$width" "$line"
    done
    printf '\r\033[K'
}

# -- Python ------------------------------------------------------------------------------------------------------------

choose_python() {
    local candidate
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    if [[ -n ${PYTHON:-} ]]; then
        fail "PYTHON=$PYTHON does not run or is older than Python 3.11"
    fi
    fail "hailod needs Python 3.11 or newer: apt-get install python3 (Debian 12 or later), or make PYTHON=/path/to/it"
}

# Which interpreter this is, the same inside and outside a virtual environment made from it.
identity() { "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null || true; }

# All that the virtual environment was made from; the folder, because an editable install holds its path.
fingerprint() {
    { pwd; identity "$venv/bin/python"; cat pyproject.toml "${constraints:-/dev/null}"; } | sha256sum
}

# The extras that the virtual environment has.
known_extras() { sed -n 2p "$venv/.up-to-date" 2>/dev/null || true; }

# Those and the ones that are wanted.
all_extras() { known_extras | cat - <(echo "$extras") | tr ',' '\n' | sort -u | sed '/^$/d' | paste -sd, ; }

up_to_date() {
    [[ $(sed -n 1p "$venv/.up-to-date" 2>/dev/null) == "$(fingerprint)" && $(all_extras) == "$(known_extras)" ]] &&
        [[ -z ${PYTHON:-} || $(identity "$PYTHON") == "$(identity "$venv/bin/python")" ]]
}

# -- Debian ------------------------------------------------------------------------------------------------------------

missing_packages() {
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: not Debian, so see to it yourself: the tests need mosquitto and GStreamer's RTSP server" >&2
        return
    fi
    local installed package
    installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${debian_packages[@]}" 2>/dev/null || true)
    for package in "${debian_packages[@]}"; do
        [[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || echo "$package"
    done
}

# Debian keeps pip's seed for virtual environments in a package of its own.
venv_package() {
    if [[ $("$1" -c 'import sys; print(sys.base_prefix)') != /usr ]]; then
        fail "$1 has no ensurepip, so it cannot make virtual environments; name another with make PYTHON=..."
    fi
    "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

# Debian leaves pip out of python3, too, but it is one small package, and to fetch and unpack that needs no root.
fetch_pip() {
    local work=.cache/pip-package
    if [[ ! -d .cache/pip ]]; then
        rm -rf "$work" && mkdir -p "$work/lists/partial" "$work/archives/partial"
        if ! download_pip; then
            # The lists of packages are root's, and there may be none yet: fetch some of our own.
            local own=(-o "Dir::State::Lists=$PWD/$work/lists" -o "Dir::Cache=$PWD/$work")
            logged apt-get "${own[@]}" update && download_pip "${own[@]}" || return 1
        fi
        logged dpkg-deb --extract "$work"/python3-pip-whl_*.deb "$work" &&
            logged "$1" -m zipfile -e "$work"/usr/share/python-wheels/pip-*.whl "$work/pip" || return 1
        mv "$work/pip" .cache/pip && rm -rf "$work"
    fi
    export PYTHONPATH=$PWD/.cache/pip
    "$1" -m pip --version >>"$log" 2>&1
}

download_pip() { logged env --chdir=.cache/pip-package apt-get "$@" download python3-pip-whl; }

without_any_pip() {
    cat <<END
Python comes without pip here, and Debian's package of it could not be fetched. Do this, then try again:

    sudo apt-get install $(venv_package "$1")
END
}

# Whether Debian packages can be installed without asking anybody.
may_install() { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }

install_packages() {
    local root=()
    if [[ $(id -u) != 0 ]]; then
        root=(sudo -n)
        if ! may_install; then
            fail "Debian packages are missing, and installing them needs root. Do this, then try again:

    sudo apt-get install --no-install-recommends $*
"
        fi
    fi
    local install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@")
    # The lists of packages are fetched only when they turn out to be missing or old.
    logged "${install[@]}" || { logged "${root[@]}" apt-get update && logged "${install[@]}"; } ||
        fail "apt-get could not install $*"
    if [[ " $* " == *" mosquitto "* ]]; then
        keep_broker_off "${root[@]}"
    fi
}

# Debian starts a broker on port 1883 when the package is installed; the tests start their own, on free ports.
keep_broker_off() {
    if [[ -d /run/systemd/system ]]; then
        logged "$@" systemctl disable --now mosquitto.service
    else
        logged "$@" service mosquitto stop && logged "$@" update-rc.d mosquitto disable
    fi || echo "      the mosquitto service was not stopped; it may hold port 1883"
}

main
