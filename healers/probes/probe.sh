#!/bin/sh
# Tell Queuemedic about processes of this host. Reads one request on standard input and answers on standard output.
# It only reads: it opens nothing for writing, and the one signal that it sends is 0, which nobody receives.
# For dash, bash and busybox; any account will do. Run by sshd as a forced command, or by `sh` on the same machine.
#
# Request: lines of words, all of them of the characters below, the last of them `end`.
#   v1 NONCE                32 hexadecimal digits, given back around the answer
#   pids PID:TICKS ...      TICKS: start ticks that are known, with commas between them, or -
#   workers WORD ...        the command line of an asked pid is told if it holds one of these
#   children WORD ...       processes that hold one of these are told when there is a reason to look through all of them
#   runs UUID ...           processes at work on one of these are told
#   folders PATH ...        processes whose command line holds PATH/.meltano/ are told
#
# Answer: whole only between BEGIN and END and with exit status 0. A line that begins with /proc/ is what grep read in
# that file; every other line is the script's own. Whatever a process calls itself can thus never look like another's.

set -fu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
unset IFS ENV BASH_ENV CDPATH GREP_OPTIONS
newline='
'
most_request=65536
most_answer=1048576
most_arguments=4096

refuse() {
    printf 'refused: %s\n' "$1" >&2
    exit 2
}

is_number() {
    case $1 in '' | 0* | *[!0-9]*) return 1 ;; esac
    [ "${#1}" -le "$2" ]
}

# The first line of a file, as the variable `first`; empty where it cannot be read.
read_first() {
    first=
    { IFS= read -r first <"$1"; } 2>/dev/null
    :
}

# The arguments in these files, one a line, and of each file so many bytes. Names of files on standard input.
tell_arguments() {
    xargs grep -zHs '' /dev/null | tr '\000\n' '\n ' |
        awk -v most="$most_arguments" '{
            file = substr($0, 1, index($0, ":"))
            room = most - told[file]
            told[file] += length($0) - length(file) + 1
            if (room > 0) print substr($0, 1, length(file) + room)
        }'
}

tell_host() {
    read_first /proc/sys/kernel/hostname
    printf 'hostname %s\n' "$first"
    read_first /etc/machine-id
    printf 'machine_id %s\n' "$first"
    read_first /proc/sys/kernel/random/boot_id
    printf 'boot_id %s\n' "$first"
    read_first /proc/uptime
    printf 'uptime %s\n' "${first%% *}"
    read_first /proc/loadavg
    printf 'load %s\n' "${first%% *}"
    # A number below /proc/sys ends after one read, and dash and busybox read a byte at a time.
    printf 'pid_max %s\n' "$(cat /proc/sys/kernel/pid_max)"
    printf 'clock_ticks %s\n' "$(getconf CLK_TCK)"
    printf 'page_bytes %s\n' "$(getconf PAGESIZE)"
    printf 'processors %s\n' "$(getconf _NPROCESSORS_ONLN)"
    namespace=$(readlink /proc/self/ns/pid)
    printf 'pid_namespace %s\n' "$namespace"
    mounts=$(grep ' /proc proc ' /proc/self/mounts)
    # shellcheck disable=SC2086
    set -- ${mounts##*"$newline"}
    printf 'proc_options %s\n' "${4-}"
    read_first /proc/1/stat
    case $first in '1 ('*) printf 'canary 1\n' ;; *) printf 'canary 0\n' ;; esac
    uid=$(id -u)
    printf 'uid %s\n' "$uid"
    printf 'user %s\n' "$(id -un)"
}

# Sets `doubtful` to the pids for which all processes are to be looked through, with | between them.
tell_processes() {
    stat_files='' argument_files='' doubtful=
    for asked in $pids; do
        stat_files="$stat_files /proc/${asked%%:*}/stat"
        argument_files="$argument_files$newline/proc/${asked%%:*}/cmdline"
    done
    printf 'section processes\n'
    [ "$stat_files" ] || return
    # shellcheck disable=SC2086
    stats=$(grep -Hs '' /dev/null $stat_files)
    [ "$stats" ] && printf '%s\n' "$stats"
    matching=
    if [ "$workers" ]; then
        # shellcheck disable=SC2086
        matching=$(printf '%s\n' $workers | grep -lzsF -f - /dev/null ${argument_files})
        [ "$matching" ] && printf '%s\n' "$matching" | tell_arguments
    fi
    known=
    IFS=$newline
    for line in $stats; do
        unset IFS
        judge_line "$line"
    done
    unset IFS
    for asked in $pids; do
        pid=${asked%%:*}
        if ! [ -d "/proc/$pid" ]; then
            tell_by_signal "$pid"
            doubtful="$doubtful|$pid"
        else
            case $known in *" $pid "*) ;; *) doubtful="$doubtful|$pid" ;; esac
        fi
    done
    doubtful=${doubtful#|}
}

# Adds a pid to `known` whose process is the enrolled one and no other, or, where none is enrolled, a worker by its
# command line; tells the threads of a zombie. An enrolled one that is not there has ended, whatever has its pid now.
judge_line() {
    pid=${1#/proc/}
    pid=${pid%%/*}
    # shellcheck disable=SC2086
    set -- ${1##*) }
    case ${1-} in
        Z | X | x)
            (set +f && grep -Hs '' /dev/null /proc/"$pid"/task/[0-9]*/stat)
            return
            ;;
    esac
    case " $pids " in
        *" $pid:${20-none} "*) known="$known $pid " ;;
        *" $pid:- "*)
            case "$newline$matching$newline" in *"$newline/proc/$pid/cmdline$newline"*) known="$known $pid " ;; esac
            ;;
    esac
}

# What `kill -0` says of a pid that /proc does not show: EPERM is that it exists.
tell_by_signal() {
    if message=$(kill -0 "$1" 2>&1); then
        printf 'signal %s exists\n' "$1"
    else
        case $message in
            *'No such process'*) printf 'signal %s absent\n' "$1" ;;
            *'not permitted'*) printf 'signal %s forbidden\n' "$1" ;;
            *) printf 'signal %s unclear\n' "$1" ;;
        esac
    fi
}

# Each search also finds this script, or else it was not whole: grep says the same of a process that ended meanwhile.
look_through() {
    is_whole=1
    read_first "/proc/$$/stat"
    # shellcheck disable=SC2086
    set -- ${first##*) }
    printf 'section relatives\n'
    set +f
    found=$(grep -EHs "\\) [A-Za-z] [0-9]+ (($doubtful|${3-0}) |[0-9]+ ($doubtful) )" /dev/null /proc/[0-9]*/stat)
    printf '%s\n' "$found"
    case $found in */proc/$$/stat:*) ;; *) is_whole=0 ;; esac
    printf 'section namespaces\n'
    found=$(grep -EHs "^NSpid:([[:space:]]+[0-9]+)*[[:space:]]+($doubtful|$$)\$" /dev/null /proc/[0-9]*/status)
    printf '%s\n' "$found"
    case $found in */proc/$$/status:*) ;; *) is_whole=0 ;; esac
    printf 'section marked\n'
    if [ "$children" ]; then
        set -f
        # shellcheck disable=SC2086
        found=$(printf '%s\n' $children "$0" | (set +f && grep -lzsF -f - /dev/null /proc/[0-9]*/cmdline))
        case "$newline$found$newline" in *"$newline/proc/$$/cmdline$newline"*) ;; *) is_whole=0 ;; esac
        printf '%s\n' "$found" | tell_arguments
        # shellcheck disable=SC2046
        grep -Hs '' /dev/null $(printf '%s\n' "$found" | sed 's/cmdline$/stat/')
    fi
    set -f
    printf 'looked_through %s\n' "$is_whole"
}

# Tell whether the kernel lets this account look into a process of its own, or root into any. That it is the account's
# is not enough: of another group, or with capabilities that the asker has not, it is closed, though the names of its
# files can be listed; and root may be without capabilities. What has no memory, as a thread of the kernel or a zombie,
# has no files either, if it has no other threads. Nothing is read of what is opened.
is_open() {
    { true <"$1/environ"; } 2>/dev/null && return
    read_first "$1/statm"
    case $first in '0 '*) ;; *) [ -z "$first" ] && return; return 1 ;; esac
    set -- "$1"/task/*
    [ "$#" -le 1 ]
}

# Tell whether a process is the machine's first, which is nobody's run; in a container it may well be one.
is_init() {
    [ "$1 $namespace" = '/proc/1 pid:[4026531836]' ]
}

# Tell whether a process is sshd's own part of a login, which the kernel lets not even its own account look into. It is
# sshd too, and a child of root's, as nothing is that was started in the login.
is_login() {
    parent=$(awk '
        $1 == "Name:" && $2 != "sshd" && $2 != "sshd-session" { exit }
        $1 == "PPid:" { print $2 }' "$1/status" 2>/dev/null)
    awk '
        $1 == "Name:" { is_sshd = $2 == "sshd" || $2 == "sshd-session" }
        $1 == "Uid:" { is_root = $2 == 0 && $3 == 0 && $4 == 0 && $5 == 0 }
        END { exit !(is_sshd && is_root) }' "/proc/$parent/status" 2>/dev/null
}

tell_runs() {
    is_whole=1
    words=
    for run in $runs; do
        rest=$run plain=
        while [ "$rest" ]; do
            plain=$plain${rest%%-*}
            case $rest in *-*) rest=${rest#*-} ;; *) rest='' ;; esac
        done
        words="$words$run$newline$plain$newline"
    done
    set +f
    for folder in /proc/[0-9]*; do
        if [ "$uid" = 0 ] || [ -O "$folder" ]; then
            is_open "$folder" || is_init "$folder" || is_login "$folder" || is_whole=0
        fi
    done
    printf 'section runs\n'
    found=$(printf '%s%s\n' "$words" "$0" |
        grep -ozHsF -f - /dev/null /proc/[0-9]*/cmdline /proc/[0-9]*/environ "/proc/$$/cmdline" | tr '\000\n' '\n ')
    printf '%s\n' "$found"
    traced=$found
    case $found in *"/proc/$$/cmdline:$0") ;; *) is_whole=0 ;; esac
    printf 'section logs\n'
    # shellcheck disable=SC2012
    found=$(ls -ln /proc/[0-9]*/fd 2>/dev/null | awk -v runs="$runs" -v own="$$" '
        BEGIN { count = split(runs, run, " ") }
        /^\/proc\/[0-9]+\/fd:$/ { split($0, part, "/"); pid = part[3]; if (pid == own) print "/proc/" pid "/fd:"; next }
        /\/elt\.log/ { # also one that was renamed since
            for (i = 1; i <= count; i++)
                if (index($0, "/" run[i] "/elt.log")) print "/proc/" pid "/fd:" run[i]
        }')
    printf '%s\n' "$found"
    traced=$traced$newline$found
    case "$newline$found$newline" in *"$newline/proc/$$/fd:$newline"*) ;; *) is_whole=0 ;; esac
    printf 'section folders\n'
    if [ "$folders" ]; then
        set -f
        # shellcheck disable=SC2086
        found=$( (printf '%s/.meltano/\n' $folders && printf '%s\n' "$0") |
            (set +f && grep -lzsF -f - /dev/null /proc/[0-9]*/cmdline))
        case "$newline$found$newline" in *"$newline/proc/$$/cmdline$newline"*) ;; *) is_whole=0 ;; esac
        printf '%s\n' "$found" | tell_arguments
        traced=$traced$newline$found
    fi
    set -f
    printf 'section states\n'
    printf '%s\n' "$traced" | awk -F/ '$2 == "proc" && !told[$3]++ { print "/proc/" $3 "/stat" }' |
        xargs grep -EHs '\) [A-Za-z] ' /dev/null | sed 's|^\(/proc/[0-9]*/stat:\).*) \([A-Za-z]\) .*|\1\2|'
    printf 'runs_visible %s\n' "$is_whole"
}

answer() {
    printf 'BEGIN %s\n' "$nonce"
    tell_host
    tell_processes
    [ "$doubtful" ] && look_through
    [ "$runs" ] && tell_runs
    printf 'END %s\n' "$nonce"
}

request=$(head -c "$most_request")
[ "${#request}" -lt "$most_request" ] || refuse 'the request is too long'
case $request in
    *[!A-Za-z0-9_./:=@%+,\ "$newline"-]*) refuse 'the request holds a character that is none of its own' ;;
esac
nonce='' pids='' workers='' children='' runs='' folders='' is_whole=
IFS=$newline
for line in $request; do
    [ "$is_whole" ] && refuse 'the request goes on behind its end'
    case $line in
        'v1 '*) nonce=${line#* } ;;
        'pids '*) pids=${line#* } ;;
        'workers '*) workers=${line#* } ;;
        'children '*) children=${line#* } ;;
        'runs '*) runs=${line#* } ;;
        'folders '*) folders=${line#* } ;;
        end) is_whole=1 ;;
        *) refuse 'the request holds a line that is not known' ;;
    esac
done
unset IFS
[ "$is_whole" ] || refuse 'the request is cut'
[ "${#nonce}" = 32 ] || refuse 'the nonce is not 32 digits'
case $nonce in *[!0-9a-f]*) refuse 'the nonce is not hexadecimal' ;; esac
for asked in $pids; do
    case $asked in *:*) ;; *) refuse 'a pid comes without ticks' ;; esac
    is_number "${asked%%:*}" 7 || refuse 'a pid is no number'
    case ${asked#*:} in - | 0) ;; '' | *[!0-9,]*) refuse 'ticks are no numbers' ;; esac
done
for run in $runs; do
    [ "${#run}" = 36 ] || refuse 'a run is no UUID'
    case $run in *[!0-9a-f-]*) refuse 'a run is no UUID' ;; esac
done
for folder in $folders; do
    case $folder in /*) ;; *) refuse 'a folder is no path from the root' ;; esac
done
answer | head -c "$most_answer"
