#!/bin/sh
# Makes a guest image of a fresh Debian tree. Arguments: the tree, the directory of files to add.
# mmdebstrap runs it as its last hook; chroot works, and no service starts in there.
set -eu
root=$1 files=$2

# Not cp -a: the files belong to whoever checked them out.
(cd "$files" && find . -type f) | while IFS= read -r file; do
    install -D -o root -g root -m 0644 "$files/$file" "$root/$file"
done
chmod 0440 "$root/etc/sudoers.d/torque-vm"

# Nothing that makes two guests of one image alike, nothing that opens a door.
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
chroot "$root" passwd --lock root
echo localhost > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
: > "$root/etc/resolv.conf"

chroot "$root" systemctl enable systemd-networkd.service ssh.service
# Waiting for the network delays everything and cloud-init does not need it; the rest is housekeeping
# of machines that live long, and a console where nobody can log in.
chroot "$root" systemctl mask \
    systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer \
    getty@tty1.service serial-getty@ttyS0.service cloud-init-hotplugd.socket \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service

chroot "$root" update-initramfs -u -k all

# mmdebstrap's own settings (a proxy of the build machine, perhaps) have no business in the guest.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
