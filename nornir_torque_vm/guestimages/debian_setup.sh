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

# Like an image that was made of a machine cloud-init has set up: with its sudo user, whom a seed has to disable.
# Until then nobody can log in as that user: there is neither a password nor a key.
chroot "$root" useradd -m -s /bin/bash -G sudo debian
echo 'debian ALL=(ALL) NOPASSWD:ALL' > "$root/etc/sudoers.d/90-cloud-init-users"

chroot "$root" systemctl set-default multi-user.target
chroot "$root" systemctl enable systemd-networkd.service ssh.service
# The clock is the node's, unless a seed names a server: then cloud-init starts this.
chroot "$root" systemctl disable systemd-timesyncd.service
# Whether there is a seed was decided when this image was made; the generator would ask at each boot.
chroot "$root" systemctl add-wants multi-user.target cloud-init.target

# What follows is worth about a third of the boot under emulation. Waiting for the network delays
# everything, and cloud-init does not need it; cloud-config has no module left to run; the rest is
# housekeeping of machines that live long, file systems and consoles nobody uses here.
chroot "$root" systemctl mask \
    systemd-networkd-wait-online.service systemd-network-generator.service \
    cloud-config.service cloud-init-hotplugd.socket \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-tmpfiles-clean.timer \
    getty-static.service getty@tty1.service serial-getty@ttyS0.service \
    dev-hugepages.mount dev-mqueue.mount sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount \
    modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service \
    modprobe@fuse.service modprobe@loop.service \
    systemd-binfmt.service systemd-journal-flush.service systemd-machine-id-commit.service \
    systemd-modules-load.service systemd-pstore.service systemd-random-seed.service \
    systemd-remount-fs.service systemd-sysusers.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service
mkdir -p "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
    ln -s /dev/null "$root/etc/systemd/system-generators/${generator##*/}"
done

chroot "$root" update-initramfs -u -k all

# The kernel is on the boot partition; see debian.py.
rm -f "$root/vmlinuz" "$root/vmlinuz.old" "$root/initrd.img" "$root/initrd.img.old"
# mmdebstrap's own settings (a proxy of the build machine, perhaps) have no business in the guest.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
