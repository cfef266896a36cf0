# The first process of a machine made of namespaces: sh boot.sh FOLDER CGROUP, in a mount, pid, uts, ipc and network
# namespace of its own. Files of the host are seen through an overlay whose changes are in memory; what belongs to the
# host's kernel (devices, sysctls, sysfs) is read-only or not there.
set -eu
folder=$1 cgroup=$2
mount --make-rprivate /
mount -t tmpfs tsn "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root" "$folder/cgroup"

# A cgroup of its own, the top of what systemd manages.
mount -t cgroup2 cgroup2 "$folder/cgroup"
mkdir "$folder/cgroup/$cgroup"
echo 0 >"$folder/cgroup/$cgroup/cgroup.procs"
umount "$folder/cgroup"

root=$folder/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
# Nothing that this host has enabled.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires
# Images of containers forbid packages to start services.
rm -f "$root/usr/sbin/policy-rc.d"
# No index of man pages, which takes longer than all else that installing does.
rm -f "$root/var/lib/man-db/auto-update"
# Each time a machine that was never started before.
rm -rf "$root"/var/log/journal
cd "$root"
pivot_root . mnt
umount -l /mnt
exec unshare --cgroup sh -c '
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec env -i container=tsn PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=journal'
