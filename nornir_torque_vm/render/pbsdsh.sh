#!/bin/sh
# torque-vm: pbsdsh for the guests of a job, with the options and messages of TORQUE's pbsdsh(1).
# A guest has no MOM that could start tasks, so they are started by ssh: over one connection for each guest,
# since handshakes cost most and a guest's sshd takes only a few at a time.

environment=$(unset PWD OLDPWD SHLVL SSH_CLIENT SSH_CONNECTION SSH_TTY; export -p)  # before we set anything
me='pbsdsh()' mark=torque-vm-pbsdsh
HANDSHAKES=16  # connections that are being made at the same time; all tasks run at the same time

say() { echo "$me: $*" >&2; }

usage() {
    cat >&2 <<'END'
Usage: pbsdsh [-c copies][-e name[=[value]][,...]][-E][-o][-s][-u][-v] program [args]...
       pbsdsh [-n nodenumber][-e name[=[value]][,...]][-E][-o][-s][-u][-v] program [args]...
       pbsdsh [-h hostname][-e name[=[value]][,...]][-E][-o][-v] program [args]...
Where -c copies = run a copy of the program on the first "copies" lines of the nodefile,
      -n nodenumber = run it on the "nodenumber"-th line, counted from 0,
      -h hostname = run it in this guest; hostname/2: on its third line,
      -u = run it once in each guest,
      -s = one after the other, not all at the same time,
      -e list = variables to pass on, with a value or without,
      -E, -o = as is done here always: all variables go to the tasks, their output comes from pbsdsh,
      -v = say which tasks were started and how each ended.
END
    exit 1
}

# quote WORD: put it into $quoted as a word that a shell reads back
quote() {
    rest=$1 quoted=
    while :; do
        case $rest in
            *\'*) quoted="$quoted${rest%%\'*}'\\''" rest=${rest#*\'} ;;
            *) break ;;
        esac
    done
    quoted="'$quoted$rest'"
}

# number OPTION TEXT SMALLEST
number() {
    case $2 in '' | *[!0-9]* | ???????*) say "-$1 wants a number, not '$2'"; usage ;; esac
    [ "$2" -ge "$3" ] || usage
}

# variables LIST: add name=value,name,… to the environment of the tasks; a name alone is there already, if anywhere
variables() {
    left=$1,
    while [ -n "$left" ]; do
        one=${left%%,*} left=${left#*,}
        name=${one%%=*}
        [ -n "$one" ] || continue
        case $name in '' | [0-9]* | *[!A-Za-z0-9_]*) say "-e wants names of variables, not '$name'"; exit 1 ;; esac
        case $one in
            *=*) quote "${one#*=}"; environment="$environment
export $name=$quoted" ;;
            *) environment="$environment
export $name=\"\${$name-}\"" ;;
        esac
    done
}

copies='' node='' target='' serial='' unique='' verbose=''
while getopts c:e:n:h:osuvE option; do
    case $option in
        c) number c "$OPTARG" 1; copies=$OPTARG ;;
        e) variables "$OPTARG" ;;
        n) number n "$OPTARG" 0; node=$OPTARG ;;
        h) target=$OPTARG ;;
        o | E) ;;
        s) serial=yes ;;
        u) unique=yes ;;
        v) verbose=yes ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { say "must specify a program"; usage; }
[ -z "$copies" ] || [ -z "$node" ] || usage
[ -n "$PBS_ENVIRONMENT" ] || { say "not executing under PBS"; exit 1; }
[ -r "$PBS_NODEFILE" ] || { say "the nodefile '$PBS_NODEFILE' is in the job's first guest only"; exit 1; }

# Each task is NUMBER:SLOT:RANK:GUEST. With -u the numbers count guests.
tasks='' count=0 slot=0 rank=-1 last='' found='' seen=0
wanted=${target%%/*} nth=0
case $target in */*) nth=${target#*/}; number h "$nth" 0 ;; esac
while read -r guest _; do
    again=$([ "$guest" = "$last" ] && echo yes)
    [ -n "$again" ] || rank=$((rank + 1))
    last=$guest
    if [ -z "$unique" ] || [ -z "$again" ] || [ -n "$target" ]; then
        if [ -n "$target" ] && [ "$guest" = "$wanted" ]; then
            [ "$seen" != "$nth" ] || found=$count
            seen=$((seen + 1))
        fi
        tasks="$tasks $count:$slot:$rank:$guest"
        count=$((count + 1))
    fi
    slot=$((slot + 1))
done <"$PBS_NODEFILE"
if [ -n "$target" ]; then
    [ -n "$found" ] || { say "$target not found"; exit 1; }
    node=$found
fi
if [ "${node:--1}" -ge "$count" ] || [ "${copies:-0}" -gt "$count" ]; then
    say "only $count nodes available"
    exit 1
fi

umask=$(umask)
umask 077
work=$(mktemp -d "${TMPDIR:-/tmp}/pbsdsh.XXXXXX") || { say "cannot write to ${TMPDIR:-/tmp}"; exit 1; }
trap 'rm -rf "$work"' EXIT
mkfifo "$work/handshakes" || exit 1
exec 9<>"$work/handshakes"

command=
for word; do
    quote "$word"
    command="$command $quoted"
done
# What each guest is sent; its arguments are tasks. A shell's own words about a task that died are kept out.
cat >"$work/program" <<END
$environment
[ -e "\$PBS_NODEFILE" ] || unset PBS_NODEFILE OMPI_MCA_orte_default_hostfile PRTE_MCA_prte_default_hostfile
cd "\${PBS_O_INITDIR:-\$HOME}" 2>/dev/null || cd
umask $umask
echo $mark \$\$
exec 4>&2 2>/dev/null
for torque_vm_task; do
    (
        torque_vm_number=\${torque_vm_task%%:*} PBS_TASKNUM=\$((\${torque_vm_task%%:*} + 2))
        torque_vm_task=\${torque_vm_task#*:}
        PBS_VNODENUM=\${torque_vm_task%%:*} PBS_NODENUM=\${torque_vm_task#*:}
        export PBS_TASKNUM PBS_VNODENUM PBS_NODENUM
        (exec$command) </dev/null 2>&4 4>&-
        torque_vm_status=\$?
        [ -z "$verbose" ] && [ \$torque_vm_status = 0 ] ||
            echo "$me: task \$torque_vm_number exit status \$torque_vm_status" >&4
    ) &
done
wait
exit 0
END

to() { ssh -T -o BatchMode=yes -o ConnectTimeout=20 -o LogLevel=ERROR -o ServerAliveInterval=15 -o ServerAliveCountMax=4 "$@"; }

# visit NAME GUEST TASK…: run tasks in a guest; what is known about it is kept in $work/NAME.*
visit() {
    name=$1 guest=$2
    shift 2
    trap '' HUP INT TERM  # a MOM signals every process of the job; what tasks are told, we decide
    echo "$guest" >"$work/$name.guest"
    {
        to "$guest" "exec sh -s $*" <"$work/program" 9>&- &
        echo $! >"$work/$name.ssh"
        wait $!
        { echo $? >"$work/$name.end"; } 2>/dev/null
    } | {
        # Whatever a login shell says first is not the tasks'.
        while read -r word process && [ "$word" != $mark ]; do :; done
        [ -z "$process" ] || echo "$process" >"$work/$name.process"
        echo >&9
        exec cat 9>&-
    }
}

# going FILE…: put the names of visits that have not ended into $left
going() {
    left=
    for file; do
        [ ! -s "$file" ] || [ -s "${file%.*}.end" ] || left="$left ${file##*/}"
    done
}

# cancel SIGNAL: end the tasks, wherever they are, as their session; what they have to say then still counts
cancel() {
    trap '' HUP INT TERM  # it signals more than once, too
    calls=
    going "$work"/*.process
    for file in $left; do
        read -r process <"$work/$file"
        read -r guest <"$work/${file%.*}.guest"
        say "killing the tasks in $guest with SIG$1"
        to "$guest" "kill -s $1 -- -$process" </dev/null >/dev/null 2>&1 &
        calls="$calls $!"
    done
    [ -z "$calls" ] || wait $calls
    moments=20
    while going "$work"/*.process && [ -n "$left" ] && [ $moments -gt 0 ]; do
        sleep 0.1
        moments=$((moments - 1))
    done
    going "$work"/*.ssh
    for file in $left; do
        read -r process <"$work/$file" && kill -KILL "$process" 2>/dev/null
    done
    wait
    exit 1
}
# A shell starts background processes deaf to SIGINT, and that is what tasks are.
trap 'cancel TERM' INT TERM
trap 'cancel HUP' HUP

result=0
# conclude NAME: tell of a guest that was not reached, or got lost
conclude() {
    read -r status <"$work/$1.end" 2>/dev/null || status=255
    [ "$status" != 0 ] || return 0
    read -r guest <"$work/$1.guest"
    if [ -s "$work/$1.process" ]; then
        say "the connection to $guest broke; how its tasks ended is not known"
        result=2
    else
        say "guest $guest could not be reached"
        [ $result = 2 ] || result=1
    fi
}

# start GUEST TASK…
visits=0
start() {
    [ $visits -lt $HANDSHAKES ] || read -r _ <&9
    visit $visits "$@" &
    [ -z "$serial" ] || wait $!
    visits=$((visits + 1))
}

guest='' group=''
for task in $tasks; do
    number=${task%%:*}
    [ "${node:-$number}" = "$number" ] && [ "$number" -lt "${copies:-$count}" ] || continue
    [ -z "$verbose" ] || say "spawned task $number"
    if [ -n "$group" ] && { [ "${task##*:}" != "$guest" ] || [ -n "$serial" ]; }; then
        start "$guest" $group
        group=
    fi
    guest=${task##*:} group="$group ${task%:*}"
done
[ -z "$group" ] || start "$guest" $group
wait

name=0
while [ $name -lt $visits ]; do
    conclude $name
    name=$((name + 1))
done
exit $result
