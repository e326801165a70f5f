//! Letting programs believe that they changed their user, where only one exists.
// Filters of system calls have no safe wrapper.
#![allow(unsafe_code)]

use std::io;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter, sock_fprog};

use crate::error::{Error, Result};

/// `AUDIT_ARCH_*` (`linux/audit.h`): numbers of system calls mean nothing without it.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Calls that change who one is, or to whom a file belongs.
const CALLS: &[c_long] = &[
    libc::SYS_setgroups,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
];

/// From now on calls that change ids do nothing and succeed, in this process and all its children.
///
/// In a user namespace with a single id they could only fail, and with them every program that gives up
/// its privileges first thing: tcpdump, nginx. They go on as root of the namespace, which is the user who
/// started it and nobody more. A filter of `seccomp(2)` answers with error 0, which is success.
///
/// # Errors
/// Without `CAP_SYS_ADMIN` in the user namespace, or without seccomp in the kernel.
pub fn pretend_to_change() -> Result<()> {
    let mut program = program();
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies `len` instructions, which live until the call returns.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    if done == 0 { Ok(()) } else { Err(Error::sys("filter system calls", io::Error::last_os_error())) }
}

/// If it is one of ours, answer 0; else go on.
fn program() -> Vec<sock_filter> {
    let plain = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |k: u32, jt: usize, jf: usize| sock_filter {
        code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
        jt: jt as u8,
        jf: jf as u8,
        k,
    };
    // Offsets in struct seccomp_data: the number at 0, the architecture at 4 (linux/seccomp.h).
    let mut program = vec![
        plain(BPF_LD | BPF_W | BPF_ABS, 4),
        jump(ARCH, 0, CALLS.len() + 1),
        plain(BPF_LD | BPF_W | BPF_ABS, 0),
    ];
    for (i, call) in CALLS.iter().enumerate() {
        program.push(jump(*call as u32, CALLS.len() - i, 0));
    }
    program.push(plain(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW));
    program.push(plain(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would, for one call.
    fn verdict(arch: u32, call: c_long) -> u32 {
        let program = program();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) & 7 {
                BPF_LD => value = if step.k == 4 { arch } else { call as u32 },
                BPF_JMP => at += usize::from(if value == step.k { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn only_changes_of_ids_are_answered() {
        for call in CALLS {
            assert_eq!(verdict(ARCH, *call), libc::SECCOMP_RET_ERRNO, "{call}");
            assert_eq!(verdict(ARCH ^ 1, *call), libc::SECCOMP_RET_ALLOW, "{call} of another architecture");
        }
        for call in [libc::SYS_read, libc::SYS_getuid, libc::SYS_execve] {
            assert_eq!(verdict(ARCH, call), libc::SECCOMP_RET_ALLOW, "{call}");
        }
    }
}
