//! Which system calls, and with which arguments. By strace of runs, and by what a libc may do instead.

use nix::{libc, unistd::getpid};
use seccompiler::{
    BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition as Condition, SeccompRule,
};

/// The number of a system call.
pub(super) type Call = libc::c_long;

/// What starts programs, and what signals, traces or changes other processes.
pub(super) const OF_OTHERS: &[Call] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

/// Whatever the arguments are.
pub(super) const ALWAYS: &[Call] = &[
    // What is open. Names alone tell what a file is, not what is in it.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    // Sockets that are connected; of messages, see below.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    // Waiting. A thread may have a runtime of its own.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Where the vDSO does not answer.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // Memory; mmap and mprotect below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // What the process is.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_uname,
    // Older names, which other architectures do not have.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Of these a libc has another way, and takes it at ENOSYS. What clone3 does is behind a pointer, where no filter can
/// see it.
pub(super) const WITH_OLDER_WAY: &[Call] = &[
    libc::SYS_clone3,
    libc::SYS_openat2,
    libc::SYS_faccessat2,
    libc::SYS_close_range,
    libc::SYS_epoll_pwait2,
    libc::SYS_futex_waitv,
    libc::SYS_mseal,
];

/// To open files, where Landlock says which.
pub(super) const OPENING: &[Call] = &[libc::SYS_openat];

/// What rename(3) is where there is no call of that name.
#[cfg(target_arch = "x86_64")]
const RENAMEAT: Call = libc::SYS_renameat;
/// Of asm-generic/unistd.h; libc does not name it for all that have it.
#[cfg(not(target_arch = "x86_64"))]
const RENAMEAT: Call = 38;

/// To renew files.
pub(super) const RENEWING: &[Call] = &[
    RENAMEAT,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_getdents64,
    libc::SYS_fchmod,
    libc::SYS_flock,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// To answer on sockets that listen.
pub(super) const ACCEPTING: &[Call] =
    &[libc::SYS_accept4, libc::SYS_getpeername, libc::SYS_getsockname, libc::SYS_setsockopt];

/// `PR_SET_VMA` of linux/prctl.h, by which a libc names its memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Flags of clone that make a thread, and those that would make a process or a namespace.
const THREAD: i32 = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Those whose arguments decide; `threads`: whether they may be started.
pub(super) fn with_arguments(threads: bool) -> Result<Vec<(Call, Vec<SeccompRule>)>, BackendError> {
    let mut calls = vec![
        // Memory never becomes code.
        (libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)?]),
        (libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)?]),
        // To nobody else than whom the socket is connected to.
        (libc::SYS_sendto, vec![is(4, 0)?]),
        // Of this process alone: abort.
        (libc::SYS_tgkill, vec![is(0, unsigned(getpid().as_raw()))?]),
        // Limits are read, not set.
        (libc::SYS_prlimit64, vec![is(2, 0)?]),
        (libc::SYS_prctl, any_of(0, &[unsigned(libc::PR_SET_NAME), PR_SET_VMA])?),
        (
            libc::SYS_fcntl,
            any_of(
                1,
                &[
                    libc::F_GETFD,
                    libc::F_SETFD,
                    libc::F_GETFL,
                    libc::F_SETFL,
                    libc::F_DUPFD,
                    libc::F_DUPFD_CLOEXEC,
                ]
                .map(unsigned),
            )?,
        ),
        // Nothing that writes to a terminal's input.
        (
            libc::SYS_ioctl,
            any_of(
                1,
                &[libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::TCGETS, libc::TIOCGWINSZ],
            )?,
        ),
    ];
    if threads {
        let wanted = unsigned(THREAD);
        let looked_at = unsigned(THREAD | NAMESPACES);
        calls.push((libc::SYS_clone, vec![masked(0, looked_at, wanted)?]));
    }
    Ok(calls)
}

/// A C constant as the bits that the kernel sees of it.
#[expect(clippy::cast_sign_loss, reason = "the bits are what is wanted")]
const fn unsigned(number: i32) -> u64 {
    number as u32 as u64
}

/// The argument is that; compared are its lower 32 bits, or all of a pointer that must be null.
fn is(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    let len = if value == 0 { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompRule::new(vec![Condition::new(argument, len, SeccompCmpOp::Eq, value)?])
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let one = |value: &u64| {
        let equal = Condition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *value)?;
        SeccompRule::new(vec![equal])
    };
    values.iter().map(one).collect()
}

/// Of the bits of `mask` the argument has those of `value`.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    let equal = SeccompCmpOp::MaskedEq(mask);
    SeccompRule::new(vec![Condition::new(argument, SeccompCmpArgLen::Qword, equal, value)?])
}

fn without(argument: u8, flag: i32) -> Result<SeccompRule, BackendError> {
    masked(argument, unsigned(flag), 0)
}
