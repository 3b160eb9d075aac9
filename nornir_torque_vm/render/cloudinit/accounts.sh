# The account of a job's owner, as the nodes have it, and nobody who may become root beside it. Root runs this
# at each boot, before cloud-init looks at accounts. Arguments: USER UID GROUP GID HOME SHELL [GROUP GID]...
# What files allow goes by numbers: those are the nodes', whatever the image has. Groups and accounts of its
# system stay what they are, and nobody gets into one that has the number by chance.
umask 022
people=1000
user=$1 uid=$2 gid=$4 home=$5 shell=$6

refuse() {
    echo "torque-vm: $1" >&2
    mkdir -p /run/torque-vm && echo "$1" >/run/torque-vm/refused
    exit 1
}

# look DATABASE KEY: $name and $number of an entry, empty when there is none
look() {
    name='' number=''
    IFS=: read -r name _ number _ <<EOF
$(getent "$1" "$2")
EOF
}

# group NAME GID: have a group of this number, called $called; $why tells why not
group() {
    called=$1
    look group "$2"
    if [ "$number" = "$2" ]; then
        [ "$name" != "$1" ] || return 0
        [ "$2" -ge $people ] || [ "$name" = users ] || { why="$2 is the number of $name in the image"; return 1; }
    fi
    look group "$1"
    if [ "$name" != "$1" ]; then
        groupadd -o -g "$2" "$1" && return 0
    elif [ "$number" = "$2" ]; then
        return 0
    elif [ "$number" -ge $people ] || [ "$1" = users ]; then
        groupmod -o -g "$2" "$1" && return 0
    else
        why="$1 of the image's system has the number $number"
        return 1
    fi
    # Not every system allows every name.
    called=gid$2
    look group "$called"
    [ "$name" = "$called" ] || groupadd -o -g "$2" "$called" || { why="it cannot be made"; return 1; }
}

# forbid NAME: what sudo's files allow this account
forbid() {
    for file in /etc/sudoers /etc/sudoers.d/*; do
        [ ! -f "$file" ] || ! grep -q "^$1[[:blank:]]" "$file" || sed -i "/^$1[[:blank:]]/d" "$file"
    done
}

# Accounts that cloud images come with, or get from cloud-init at their first boot, which may be over.
defaults="debian ubuntu admin cloud-user centos rocky almalinux fedora ec2-user"
for file in /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg; do
    [ -r "$file" ] || continue
    inside=
    while IFS= read -r line; do
        case $line in
            [!\ \#]*) inside= ;;
            *\ default_user:*) inside=yes ;;
            *\ name:\ *) [ -z "$inside" ] || defaults="$defaults ${line##* }" inside= ;;
        esac
    done <"$file"
done
[ ! -e /etc/sudoers.d/90-cloud-init-users ] || rm -f /etc/sudoers.d/90-cloud-init-users
while IFS=: read -r account _ number _ _ folder _; do
    case " $defaults " in *" $account "*) ;; *) continue ;; esac
    [ "$number" -ge $people ] || continue
    forbid "$account"
    [ "$account" != "$user" ] || continue
    if [ "$number" = "$uid" ]; then
        userdel "$account"
    else
        rm -f "$folder/.ssh/authorized_keys" "$folder/.ssh/authorized_keys2"
        usermod -L -e 1 -s /usr/sbin/nologin -G "" "$account"
    fi || refuse "the image's account $account, which may become root, cannot be disabled"
done </etc/passwd

[ "$uid" != 0 ] || exit 0
group "$3" "$gid" || refuse "the group $3 of $user cannot have the number $gid: $why"
shift 6
also=
while [ $# -gt 1 ]; do
    if group "$1" "$2"; then also="$also${also:+,}$called"
    else echo "torque-vm: $user is not in the group $1 ($2) here: $why" >&2; fi
    shift 2
done

[ -x "$shell" ] || { echo "torque-vm: the image has no $shell" >&2; shell=/bin/sh; }
look passwd "$user"
if [ "$name" = "$user" ]; then
    [ "$number" = "$uid" ] || refuse "$user has the number $number in the image, not $uid"
    # An account of a directory service is what it is; whether that is right is looked at later.
    while IFS=: read -r account _; do
        [ "$account" != "$user" ] || usermod -g "$gid" -G "$also" "$user"
    done </etc/passwd
else
    look passwd "$uid"
    [ "$number" != "$uid" ] || refuse "the number $uid of $user is that of $name in the image"
    mkdir -p "${home%/*}/"
    useradd -m -N -u "$uid" -g "$gid" ${also:+-G "$also"} -s "$shell" -d "$home" "$user" ||
        refuse "the account $user cannot be made"
fi
