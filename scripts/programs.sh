# For the other scripts: which programs are here, which can be installed (as root, on Debian), and
# what is left out without them. They set `install` (yes or no), `log` and `skips` (files).

export DEBIAN_FRONTEND=noninteractive

skip() {
    printf 'skipped: %s\n' "$*" >>"$skips"
    printf 'SKIP: %s\n' "$*"
}

have() {
    command -v "$1" >/dev/null || [[ -x /usr/sbin/$1 || -x /sbin/$1 ]]
}

# install_packages NAME...: tries; whether it helped is seen by whoever needs them.
install_packages() {
    local package
    [[ $install == yes && $(id -u) == 0 ]] && have apt-get || return 0
    have debconf-set-selections &&
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    # RUNLEVEL keeps the packages from starting their services here.
    RUNLEVEL=1 apt-get -qq update >>"$log" 2>&1 || true
    RUNLEVEL=1 apt-get -qq install -y --no-install-recommends "$@" >>"$log" 2>&1 ||
        for package in "$@"; do
            RUNLEVEL=1 apt-get -qq install -y --no-install-recommends "$package" >>"$log" 2>&1 || true
        done
}

# install_programs PROGRAM:PACKAGE...: installs what is missing, and says what still is.
install_programs() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%:*}" || missing+=("${pair#*:}")
    done
    if ((${#missing[@]})); then install_packages "${missing[@]}"; fi
    for pair in "$@"; do
        have "${pair%%:*}" || skip "what needs ${pair%%:*} (the package ${pair#*:} is not installed)"
    done
}
