# What a seed can ask for: one function a wish, called by the script seed.awk prints.
# A wish that fails is an error in result.json, never the end of the boot.

fail() {
    echo "micro: error: $1" >&2
    errors="$errors${errors:+, }\"$(printf %s "$1" | tr -c ' -~' ' ' | tr '"\\' "'/")\""
}

note() { echo "micro: $1" >&2; }

instance() {
    mkdir -p "/var/lib/cloud/instances/$1" /var/lib/cloud/data
    ln -sfn "/var/lib/cloud/instances/$1" /var/lib/cloud/instance
    echo "$1" > /var/lib/cloud/data/instance-id
}

# host_name NAME FQDN
host_name() {
    [ -n "$1" ] || return 0
    echo "$1" > /etc/hostname
    echo "$1" > /proc/sys/kernel/hostname || fail "host name $1 was refused"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "${2:+$2 }$1" > /etc/hosts
}

# network NAME MAC DHCP ADDRESSES GATEWAY DNS SEARCH WANTED_NAME
network() {
    local nic=$1 path address
    if [ -n "$2" ]; then
        nic=
        for path in /sys/class/net/*; do
            read -r address < "$path/address" && [ "$address" = "$2" ] && nic=${path##*/}
        done
        [ -n "$nic" ] || { fail "no network card has the address $2"; return; }
    fi
    if [ -n "$8" ] && [ "$8" != "$nic" ]; then
        ip link set "$nic" name "$8" && nic=$8 || fail "network card $nic cannot be called $8"
    fi
    ip link set "$nic" up || { fail "network card $nic is missing"; return; }
    for address in $4; do ip address add "$address" dev "$nic" || fail "address $address was refused"; done
    if [ -n "$5" ]; then ip route replace default via "$5" || fail "gateway $5 was refused"; fi
    for address in $6; do echo "nameserver $address"; done >> /etc/resolv.conf
    if [ -n "$7" ]; then echo "search $7" >> /etc/resolv.conf; fi
    [ "$3" = true ] || return 0
    read -r address < /proc/sys/kernel/hostname
    udhcpc -i "$nic" -s /usr/lib/micro/lease -x "hostname:$address" -T 1 -t "$DHCP_SECONDS" -n &
    leases="$leases $!"
}

# udhcpc goes into the background itself once it has a lease.
network_wait() {
    local pid
    for pid in $leases; do wait "$pid" || fail "no DHCP server answered within $DHCP_SECONDS s"; done
}

# host_key PRIVATE PUBLIC (OpenSSH's formats)
host_key() {
    local key=/etc/ssh/ssh_host_ed25519_key
    if [ -n "$1" ]; then
        (umask 077; printf '%s\n' "$1" > $key)
        printf '%s\n' "$2" > $key.pub
        dropbearconvert openssh dropbear $key /etc/ssh/dropbear_key 2> /run/convert.log ||
            fail "the ssh host key cannot be read: $(cat /run/convert.log)"
    fi
    [ -s /etc/ssh/dropbear_key ] || dropbearkey -t ed25519 -f /etc/ssh/dropbear_key > $key.pub
}

# write_file PATH MODE OWNER ENCODING CONTENT
write_file() {
    case $1 in
        */*) [ -d "${1%/*}/" ] || mkdir -p "${1%/*}" ;;
        *) fail "write_files: path $1 is not absolute"; return ;;
    esac
    case $4 in
        '' | text/plain) printf %s "$5" > "$1" ;;
        b64 | base64) printf %s "$5" | base64 -d > "$1" ;;
        *) fail "write_files: encoding $4 of $1 is not known"; return ;;
    esac || { fail "write_files: $1 was not written"; return; }
    chmod "${2:-0644}" "$1" || fail "write_files: mode $2 of $1 was refused"
    [ -z "$3" ] || [ "$3" = root:root ] || chown "$3" "$1" || fail "write_files: owner $3 of $1 is not known"
}

run_command() { "$@" || fail "command ended with code $?: $*"; }

# user NAME UID PRIMARY_GROUP SHELL HOME GROUPS AUTHORIZED_KEYS
user() {
    local home=${5:-/home/$1} uid gid
    if [ "$1" = root ]; then
        home=/root uid=0 gid=0
    else
        id "$1" > /run/id.log 2>&1 ||
            useradd -m ${2:+-u "$2"} ${3:+-g "$3"} ${4:+-s "$4"} ${6:+-G "$6"} -d "$home" "$1" ||
            { fail "user $1 was not added"; return; }
        uid=$1 gid=$(id -g "$1")
    fi
    [ -n "$7" ] || return 0
    mkdir -p "$home/.ssh"
    printf '%s\n' "$7" > "$home/.ssh/authorized_keys"
    chmod 700 "$home/.ssh"
    chmod 600 "$home/.ssh/authorized_keys"
    [ "$uid" = 0 ] || chown -R "$uid:$gid" "$home/.ssh"
}
