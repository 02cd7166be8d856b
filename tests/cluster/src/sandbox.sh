# Keeps the processes and mounts of one cluster apart from the machine's, and clears up after it.
#
#   sandbox.sh supervise KIND DIR ROOT     started by the test; lives until the cluster is over
#   sandbox.sh init KIND DIR ROOT          PID 1 of the namespace
#
# The pipe on stdin is the lease: its other end is held by the test process alone. When that ends,
# however it ends, PID 1 reads end of file and exits, the kernel kills all that runs in the PID
# namespace, the mount namespace goes with its last process, and the supervisor removes DIR.
# KIND: root, user (namespaces of an ordinary user), none (no namespaces to be had).
set -eu
what=$1 kind=$2 dir=$3 root=$4

case $what in
supervise)
    trap '' INT TERM HUP
    case $kind in
    root) set -- unshare --fork --pid --mount --kill-child ;;
    user)
        set -- unshare --user --map-current-user --keep-caps --fork --pid --mount --kill-child
        ;;
    none) set -- ;;
    esac
    test_process=$PPID
    if [ -e "$dir/cgroups" ]; then
        # Slurm names its cgroups after the node: one such cluster at a time.
        exec 9>/run/lock/flexmig-cluster-cgroups
        flock 9
    fi
    "$@" sh "$0" init "$kind" "$dir" "$root" || true
    if [ "$kind" = none ]; then
        # DIR is this cluster's alone: whoever has a file open below it belongs to the cluster.
        for round in 1 2 3; do
            for process in /proc/[0-9]*; do
                pid=${process#/proc/}
                [ "$pid" != "$test_process" ] && [ "$pid" != $$ ] || continue
                case $(readlink "$process"/fd/* "$process/cwd" 2>/dev/null) in
                *"$dir"/*) kill -9 "$pid" 2>/dev/null || true ;;
                esac
            done
            sleep 0.1
        done
    fi
    if [ -e "$dir/cgroups" ]; then
        while read -r name; do
            for group in /sys/fs/cgroup/*/"slurm_$name"; do
                [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + || true
            done
        done <"$dir/cgroups"
    fi
    [ -e "$dir/keep" ] || rm -rf "$dir"
    ;;
init)
    # /proc is still the machine's: our process id as the test process sees it.
    read -r pid rest </proc/self/stat
    case $kind$root in
    none) set -- ;;
    root/*)
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mkdir -p "$root$dir"
        mount --bind "$dir" "$root$dir"
        set -- chroot "$root"
        ;;
    *)
        mount -t proc proc /proc
        set --
        ;;
    esac
    # The process id is told last: commands enter whatever root directory this process has.
    # Ignoring SIGCHLD makes the kernel reap for us.
    exec "$@" sh -c 'echo "$1"; exec env --ignore-signal=CHLD cat' sh "$pid"
    ;;
esac
