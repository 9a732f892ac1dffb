# setup.sh - what ./run and ./test do first: the packages that are missing, and a build. Sourced by both.
# The caller has set `root` to the folder of the project.

run_packages="libc6-dev libuv1-dev libssl-dev libsqlite3-dev libpcre2-dev libxxhash-dev amqp-tools
    libjansson-dev libcurl4-openssl-dev"
run_commands="gcc:gcc meson:meson ninja:ninja-build pkg-config:pkg-config"
test_packages="check librabbitmq-dev python3-pika python3-amqp python3-kombu ruby-bunny
    php-cli php-amqp php-amqplib"
test_commands="python3:python3 npm:npm openssl:openssl"

say()
{
    printf '%s\n' "$*"
}

fail()
{
    [ $# -eq 0 ] || say "$*" >&2
    exit 1
}

# missing_packages PACKAGES COMMANDS: the packages to install; a command may have come from somewhere else.
missing_packages()
{
    for package in $1; do
        case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
        'install ok installed') ;;
        *) printf '%s ' "$package" ;;
        esac
    done
    for pair in $2; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "${pair#*:}"
    done
}

# tell_line PACKAGES: what somebody who may has to run; on a line of its own, to be copied. Ends the script.
tell_line()
{
    install="apt-get install -y --no-install-recommends $1"
    say "Packages are missing. Install them with this line, then try again:" >&2
    if command -v sudo >/dev/null 2>&1; then
        say "sudo apt-get update && sudo $install" >&2
    else
        say "su -c 'apt-get update && $install'" >&2
    fi
    fail
}

# need_packages PACKAGES COMMANDS: installs what is missing when it may, else prints the line that does.
need_packages()
{
    if ! command -v dpkg-query >/dev/null 2>&1; then
        say "This is no Debian or Ubuntu: what these packages hold has to be there: $1 $2"
        return 0
    fi
    missing=$(missing_packages "$1" "$2")
    missing=${missing% }
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root='sudo -n'
        sudo -n true 2>/dev/null || tell_line "$missing"
    fi
    say "Installing $missing"
    log=$(mktemp)
    # The lists may be old or absent: a failed update is told only when the installation fails too.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update >"$log" 2>&1 </dev/null || true
    if ! $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        fail "The installation failed. The line was: apt-get install -y --no-install-recommends $missing"
    fi
    rm -f "$log"
}

# quietly LOG COMMAND...: shows what the command said only when it fails.
quietly()
{
    quiet_log=$1
    shift
    if ! "$@" >"$quiet_log" 2>&1 </dev/null; then
        cat "$quiet_log" >&2
        return 1
    fi
}

# configure DIR STAMP OPTION...: meson setup, only when it was not done or done with another stamp.
configure()
{
    dir=$1 stamp=$2
    shift 2
    [ ! -d "$dir" ] || [ -w "$dir" ] ||
        fail "$dir is not yours to write: run this as its owner, or clone anew"
    if [ -f "$dir/build.ninja" ] && [ "$(cat "$dir/leveret-stamp" 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    again=
    [ ! -f "$dir/build.ninja" ] || again=--reconfigure
    [ -n "$again" ] || rm -rf "$dir"
    mkdir -p "$dir"
    quietly "$dir/leveret-setup.log" meson setup $again "$@" "$dir" "$root" || fail "meson setup failed"
    printf '%s\n' "$stamp" >"$dir/leveret-stamp"
}

# build DIR TARGET...: ninja; all without a target.
build()
{
    dir=$1
    shift
    quietly "$dir/leveret-build.log" ninja -C "$dir" "$@" || fail "the build in $dir failed"
}
