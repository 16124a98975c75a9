#!/bin/sh
# Prepare a host to be asked by Queuemedic over SSH whether the workers of jobs are alive, or undo that.
#
#     sh prepare.sh install [--from ADDRESSES] [--account NAME] KEY.pub probe.sh
#     sh prepare.sh undo
#
# As root, on the host; both may be run again. `queuemedic hosts script >probe.sh` writes the script that is asked.
# --from: the addresses that Queuemedic comes from, as authorized_keys takes them; without it any.
#
# What there is afterwards, and nothing else, and nothing of it after undo:
#   the account `queuemedic`, without a password and a home of its own; with a forced command it can do nothing but run the probe
#   /usr/local/lib/queuemedic-probe.sh          the probe, which only reads /proc
#   /etc/ssh/queuemedic/authorized_keys         the key, with the forced command, which is ended after a minute
#   /etc/ssh/sshd_config.d/60-queuemedic.conf   what sshd allows this account
set -eu
umask 022
PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
comment='Queuemedic probe' # by it an account is known to have been made here
account=queuemedic from=''
probe=/usr/local/lib/queuemedic-probe.sh
keys=/etc/ssh/queuemedic
settings=/etc/ssh/sshd_config.d/60-queuemedic.conf
changed=''

say() { printf '%s\n' "$*"; }
fail() {
    printf 'prepare.sh: %s\n' "$*" >&2
    exit 1
}
usage() {
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

has_account() { [ "$account" ] && getent passwd "$account" >/dev/null; }
own_account() { [ "$(getent passwd "$account" | cut -d: -f5)" = "$comment" ]; }

# Put standard input into a file, unless it is there already.
put() {
    cat >"$1.new"
    chmod "$2" "$1.new"
    if cmp -s "$1.new" "$1"; then
        rm "$1.new"
    else
        mv "$1.new" "$1"
        changed=1
        say "wrote $1"
    fi
}

reload_sshd() {
    for unit in ssh sshd; do
        if systemctl --quiet is-active "$unit" 2>/dev/null && systemctl reload "$unit"; then
            say 'sshd has read its configuration again'
            return
        fi
    done
    if [ -s /run/sshd.pid ] && kill -HUP "$(cat /run/sshd.pid)" 2>/dev/null; then
        say 'sshd has read its configuration again'
    else
        say 'no running sshd was found: it reads its configuration when it starts'
    fi
}

# The account that this host was prepared with, if it was.
recorded_account() { if [ -e "$settings" ]; then sed -n 's/^Match User //p' "$settings"; fi; }

# What sshd makes of its configuration for the account, by key.
effective() { sshd -T -C "user=$account,host=localhost,addr=127.0.0.1" | sed -n "s|^$1 ||p"; }

check_inputs() {
    if ! [ -r "$key_file" ]; then fail "$key_file: cannot be read; name the public key, usually KEY.pub"; fi
    if [ "$(grep -c . "$key_file")" != 1 ] || ! ssh-keygen -l -f "$key_file" >/dev/null 2>&1; then
        fail "$key_file: is not one public key; make a pair with: ssh-keygen -t ed25519 -N '' -f probe_key"
    fi
    key=$(grep . "$key_file" | cut -d' ' -f1,2)
    case $key in ssh-* | ecdsa-*) ;; *) fail "$key_file: begins with options; give the bare key" ;; esac
    case $from in *[!0-9A-Za-z.:/,*?!_-]*) fail "--from $from: holds what no address holds" ;; esac
    if ! [ -r "$script" ] || ! sh -n "$script" 2>/dev/null || ! grep -q 'BEGIN [%]s' "$script"; then
        fail "$script: is not the probe; write it with: queuemedic hosts script >probe.sh"
    fi
}

install_all() {
    check_inputs
    sshd -t || fail 'sshd finds faults in its configuration: nothing was changed'
    [ -d "${settings%/*}" ] || fail "${settings%/*}: is not there, so sshd is too old or does not read it"
    case $(recorded_account) in
        '' | "$account") ;;
        *) fail "the account is $(recorded_account) until now; run undo before you choose another" ;;
    esac
    if has_account && ! own_account; then
        fail "$account: is an account already, and was not made here; choose another with --account"
    fi
    trap 'rm -f "$probe.new" "$keys/authorized_keys.new" "$settings.new"' EXIT
    # First of all, as undo finds the account in it.
    put "$settings" 644 <<END
# Made by prepare.sh of Queuemedic.
Match User $account
    AuthorizedKeysFile $keys/authorized_keys
    AuthenticationMethods publickey
    MaxSessions 1
    PermitTTY no
    AllowTcpForwarding no
    AllowStreamLocalForwarding no
    PermitUserRC no
END
    if ! has_account; then
        useradd --system --no-create-home --home-dir / --shell /bin/sh --comment "$comment" "$account"
        # Not locked, as sshd keeps out whoever is; and no password is this one.
        usermod --password '*' "$account"
        changed=1
        say "made the account $account"
    fi
    mkdir -p "$keys"
    put "$probe" 755 <"$script"
    put "$keys/authorized_keys" 644 <<END
restrict,${from:+from=\"$from\",}command="timeout 60 $probe" $key queuemedic
END
    if ! sshd -t; then
        undo_all >/dev/null
        fail "sshd does not take $settings: all was undone"
    fi
    if [ "$(effective authorizedkeysfile)" != "$keys/authorized_keys" ]; then
        undo_all >/dev/null
        fail "sshd does not read $settings, so all was undone; put first into sshd_config: Include ${settings%/*}/*.conf"
    fi
    if [ "$changed" ]; then reload_sshd; else say 'all was there already'; fi
    warn
    show
}

# What may keep Queuemedic from getting in, or from seeing anything.
warn() {
    for list in allowusers allowgroups; do
        if [ "$(effective $list)" ]; then say "WARNING: sshd has $list $(effective $list): $account has to be let in"; fi
    done
    if [ "$(sed -n 's/^proc \/proc .*\(hidepid=[^0, ][^, ]*\).*/\1/p' /proc/mounts)" ]; then
        say "WARNING: /proc hides processes (hidepid=): $account has to be in the group that its gid= names"
    fi
}

show() {
    say "For queuemedic.yml, under hosts:, and the host's key for its known_hosts file:"
    printf '  "%s": {via: ssh, address: …, user: %s, key_file: …, known_hosts: …' "$(uname -n)" "$account"
    if [ -s /etc/machine-id ]; then printf ', machine_id: %s' "$(cat /etc/machine-id)"; fi
    say '}'
    host_key=/etc/ssh/ssh_host_ed25519_key.pub
    if [ -r "$host_key" ]; then printf '  ADDRESS %s\n' "$(cut -d' ' -f1,2 "$host_key")"; fi
}

undo_all() {
    account=$(recorded_account)
    if has_account && ! own_account; then fail "$account: was not made here: nothing was changed"; fi
    # From here on nobody new gets in.
    rm -f "$keys/authorized_keys"
    if [ -d "$keys" ]; then rmdir "$keys"; fi
    if has_account; then
        end_sessions
        userdel "$account"
        if getent group "$account" >/dev/null; then groupdel "$account"; fi
        say "removed the account $account"
    fi
    rm -f "$probe"
    if [ -e "$settings" ]; then
        rm "$settings"
        reload_sshd
    fi
    say 'nothing of it is left'
}

# End what the account still runs: a connection is kept between two questions.
end_sessions() {
    number=$(id -u "$account")
    for entry in /proc/[0-9]*; do
        if [ "$(stat -c %u "$entry" 2>/dev/null)" = "$number" ]; then kill -KILL "${entry#/proc/}" 2>/dev/null || true; fi
    done
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        if ! find /proc -maxdepth 1 -uid "$number" 2>/dev/null | grep -q .; then return; fi
        [ "$tries" = 10 ] || sleep 0.2
    done
}

verb=${1-}
[ "$#" -gt 0 ] && shift
while :; do
    case ${1-} in
        --from | --account)
            if [ "$#" -lt 2 ] || [ "$verb" != install ]; then usage; fi
            if [ "$1" = --from ]; then from=$2; else account=$2; fi
            shift 2
            ;;
        -*) usage ;;
        *) break ;;
    esac
done
case $account in '' | -* | *[!a-z0-9_-]*) fail "--account $account: is no name of an account" ;; esac
case $verb:$# in install:2) key_file=$1 script=$2 ;; undo:0) ;; *) usage ;; esac
[ "$(id -u)" = 0 ] || fail 'has to be run as root'
for tool in sshd ssh-keygen useradd usermod userdel getent; do
    command -v "$tool" >/dev/null || fail "$tool: is not installed"
done
case $verb in install) install_all ;; undo) undo_all ;; esac
