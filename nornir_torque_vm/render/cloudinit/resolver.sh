# Whom a guest asks for names, where its system does not learn that from network-config: cloud-init writes it for
# systemd-networkd, netplan and ifupdown, and all three need another program to make an /etc/resolv.conf of it;
# for NetworkManager it writes nothing. Root runs this at each boot, with the network up.
# Arguments: SEARCH-DOMAIN (or empty) SERVER...
umask 022
search=$1
shift
if [ -d /etc/NetworkManager/conf.d ] && [ $# -gt 0 ]; then
    servers=$(IFS=,; echo "$*")
    printf '[global-dns]\n%s[global-dns-domain-*]\nservers=%s\n' "${search:+searches=$search
}" "$servers" >/etc/NetworkManager/conf.d/90-torque-vm.conf
    nmcli general reload >/dev/null 2>&1 || :
fi
# A link leads to a file of systemd-resolved's, NetworkManager's or resolvconf's, who know already.
[ ! -h /etc/resolv.conf ] || exit 0
kept=
if [ -f /etc/resolv.conf ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            nameserver*) [ $# = 0 ] || continue ;;
            search* | domain*) [ -z "$search" ] || continue ;;
        esac
        kept="$kept$line
"
    done </etc/resolv.conf
fi
{
    [ -z "$search" ] || echo "search $search"
    for server; do echo "nameserver $server"; done
    printf %s "$kept"
} >/etc/resolv.conf
