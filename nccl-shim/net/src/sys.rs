//! System calls that the standard library does not offer, as safe functions.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A negative return value is an error in `errno`.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether a call would have to wait.
pub fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Fills a buffer from the kernel's random source.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut bytes[done..];
        // SAFETY: the kernel writes at most `rest.len()` bytes.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            n if n > 0 => done += n as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Effective user id of this process.
pub fn euid() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}

/// Device and inode of a file, as of a `/proc/self/ns` entry.
pub fn file_id(path: &CStr) -> io::Result<(u64, u64)> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `path` is a C string; the kernel fills `stat` on success.
    unsafe {
        check(libc::stat(path.as_ptr(), stat.as_mut_ptr()))?;
        let stat = stat.assume_init();
        Ok((stat.st_dev, stat.st_ino))
    }
}

/// A memfd of `size` bytes that can never change its size again.
pub fn sealed_memfd(name: &CStr, size: usize) -> io::Result<OwnedFd> {
    // SAFETY: plain system calls on a descriptor that is ours.
    unsafe {
        // Beyond the limit ftruncate would raise SIGXFSZ.
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit))?;
        if (size as u64) > limit.rlim_cur {
            return Err(io::Error::other("the limit on file sizes (ulimit -f) is below this"));
        }
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        let fd = OwnedFd::from_raw_fd(check(libc::memfd_create(name.as_ptr(), flags))?);
        check(libc::ftruncate(fd.as_raw_fd(), size as libc::off_t))?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, SEALS))?;
        Ok(fd)
    }
}

const SEALS: c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// Whether a descriptor is a memfd of exactly `size` bytes, sealed as
/// [`sealed_memfd`] does: its pages cannot go away under a mapping.
pub fn is_sealed(fd: BorrowedFd<'_>, size: usize) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: plain queries; the kernel fills `stat` on success.
    unsafe {
        let seals = libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS);
        seals >= 0
            && seals & SEALS == SEALS
            && libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) == 0
            && stat.assume_init().st_size as u64 == size as u64
    }
}

/// Maps `size` bytes of a descriptor, shared, with its pages present.
pub fn map_shared(fd: BorrowedFd<'_>, size: usize) -> io::Result<*mut u8> {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(base.cast()) }
}

/// Undoes [`map_shared`].
///
/// # Safety
/// Nothing may use the mapping any more.
pub unsafe fn unmap(base: *mut u8, size: usize) {
    // SAFETY: the caller's mapping, unmapped once.
    unsafe { libc::munmap(base.cast(), size) };
}

/// A non-blocking SEQPACKET socket.
pub fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a fresh descriptor.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(libc::AF_UNIX, kind, 0))?)) }
}

/// An abstract address: a NUL, then the name.
fn abstract_address(name: &[u8]) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let room = &mut address.sun_path[1..];
    if name.len() > room.len() {
        return Err(io::Error::other("name of socket too long"));
    }
    for (place, byte) in room.iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    let size = size_of::<libc::sa_family_t>() + 1 + name.len();
    Ok((address, size as libc::socklen_t))
}

/// Listens on an abstract name.
pub fn listen_abstract(name: &[u8]) -> io::Result<OwnedFd> {
    let socket = packet_socket()?;
    let (address, size) = abstract_address(name)?;
    // SAFETY: `address` holds `size` valid bytes.
    unsafe {
        check(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size))?;
        check(libc::listen(socket.as_raw_fd(), 1024))?;
    }
    Ok(socket)
}

/// Connects to an abstract name. `WouldBlock`: the listener's queue is full.
pub fn connect_abstract(socket: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let (address, size) = abstract_address(name)?;
    // SAFETY: `address` holds `size` valid bytes.
    unsafe { check(libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size))? };
    Ok(())
}

/// Takes one waiting connection.
pub fn accept(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the address is not asked for; the descriptor is fresh.
    unsafe {
        let null = std::ptr::null_mut();
        let fd = check(libc::accept4(socket.as_raw_fd(), null, std::ptr::null_mut(), flags))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Process and user at the other end of a unix socket. The process id is 0 if the
/// process cannot be seen from this PID namespace.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    // SAFETY: all zeroes is a valid value.
    let mut creds: libc::ucred = unsafe { zeroed() };
    socket_option(socket, libc::SO_PEERCRED, &mut creds)?;
    Ok((creds.pid, creds.uid))
}

fn socket_option<T>(socket: BorrowedFd<'_>, name: c_int, value: &mut T) -> io::Result<()> {
    let mut size = size_of::<T>() as libc::socklen_t;
    let place = std::ptr::from_mut(value).cast::<c_void>();
    // SAFETY: `place` has room for `size` bytes.
    unsafe {
        check(libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, place, &mut size))
    }?;
    Ok(())
}

/// A descriptor of the process at the other end of a unix socket, from the socket
/// itself (Linux 6.5), else by process id.
pub fn peer_pidfd(socket: BorrowedFd<'_>, pid: i32) -> io::Result<OwnedFd> {
    const SO_PEERPIDFD: c_int = 77;
    let mut fd: RawFd = -1;
    if socket_option(socket, SO_PEERPIDFD, &mut fd).is_ok() && fd >= 0 {
        // SAFETY: the kernel installed a fresh descriptor.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: a fresh descriptor, close-on-exec by definition.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as c_int;
        Ok(OwnedFd::from_raw_fd(check(fd)?))
    }
}

/// Whether a descriptor is readable or hung up. For a pidfd: the process ended.
pub fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, no waiting.
    let n = unsafe { libc::poll(&mut poll, 1, 0) };
    n == 1 && poll.revents != 0
}

fn record(kind: c_int, at: i64) -> libc::flock {
    // SAFETY: all zeroes is a valid value.
    let mut lock: libc::flock = unsafe { zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = at;
    lock.l_len = 1;
    lock
}

/// Locks one byte of a file for this process, until it ends or closes the file.
pub fn lock_byte(fd: BorrowedFd<'_>, at: i64) -> io::Result<()> {
    let lock = record(libc::F_WRLCK, at);
    // SAFETY: `lock` is a valid record.
    unsafe { check(libc::fcntl(fd.as_raw_fd(), libc::F_SETLK, &raw const lock)) }?;
    Ok(())
}

/// Whether another process holds the lock on one byte of a file.
pub fn is_locked(fd: BorrowedFd<'_>, at: i64) -> io::Result<bool> {
    let mut lock = record(libc::F_WRLCK, at);
    // SAFETY: `lock` is a valid record that the kernel overwrites.
    unsafe { check(libc::fcntl(fd.as_raw_fd(), libc::F_GETLK, &raw mut lock)) }?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Room for one descriptor in a control message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Ancillary([u8; 64]);

/// Sends one packet, with a descriptor if there is one.
pub fn send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut ancillary = Ancillary([0; 64]);
    // SAFETY: all zeroes is an empty message; the pointers outlive the call, and
    // CMSG_SPACE of one descriptor is below 64.
    let sent = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(fd) = fd {
            let size = size_of::<RawFd>() as u32;
            message.msg_control = ancillary.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    match sent {
        n if n == bytes.len() as isize => Ok(()),
        n if n < 0 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::other("packet cut short")),
    }
}

/// Receives one packet and the descriptor that came with it. 0 bytes: the peer
/// hung up.
pub fn receive_packet(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut ancillary = Ancillary([0; 64]);
    let mut first = None;
    // SAFETY: as in `send_packet`; every descriptor found is fresh and taken over
    // exactly once.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = ancillary.0.as_mut_ptr().cast();
        message.msg_controllen = ancillary.0.len() as _;
        let n = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let room = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..room / size_of::<RawFd>() {
                    let raw = libc::CMSG_DATA(header).cast::<RawFd>().add(i).read_unaligned();
                    let fd = OwnedFd::from_raw_fd(raw);
                    first.get_or_insert(fd);
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok((n as usize, first))
    }
}

/// Reads another process's memory. Returns how many bytes came.
///
/// # Safety
/// `dst` must be writable for `len` bytes.
pub unsafe fn read_process(pid: i32, dst: *mut u8, src: u64, len: usize) -> io::Result<usize> {
    let local = libc::iovec { iov_base: dst.cast(), iov_len: len };
    let remote = libc::iovec { iov_base: src as *mut c_void, iov_len: len };
    // SAFETY: the caller vouches for `dst`; the kernel checks the remote side.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Writes into another process's memory. Returns how many bytes went.
///
/// # Safety
/// `src` must be readable for `len` bytes.
pub unsafe fn write_process(pid: i32, dst: u64, src: *const u8, len: usize) -> io::Result<usize> {
    let local = libc::iovec { iov_base: src.cast_mut().cast(), iov_len: len };
    let remote = libc::iovec { iov_base: dst as *mut c_void, iov_len: len };
    // SAFETY: the caller vouches for `src`; the kernel checks the remote side.
    let n = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Takes other processes of this user the right to reach this one's memory (and us the
/// right to a core dump). False: they may be privileged, and would not care.
pub fn lock_out_other_processes() -> bool {
    // SAFETY: a plain system call.
    euid() != 0 && unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) } == 0
}

/// Milliseconds of the monotonic clock, coarse and cheap.
pub fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// Nanoseconds of the monotonic clock.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Starts connecting a non-blocking TCP socket; [`tcp_connected`] says when it is done.
pub fn tcp_connect(address: &SocketAddr) -> io::Result<OwnedFd> {
    let (storage, size) = socket_address(address);
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a fresh descriptor; `storage` holds `size` valid bytes.
    unsafe {
        let family = c_int::from(storage.ss_family);
        let socket = OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?);
        let result = libc::connect(socket.as_raw_fd(), (&raw const storage).cast(), size);
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(error);
            }
        }
        Ok(socket)
    }
}

/// Whether a socket of [`tcp_connect`] is connected by now.
pub fn tcp_connected(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, no waiting.
    if unsafe { libc::poll(&mut poll, 1, 0) } < 1 {
        return Ok(false);
    }
    let mut error: c_int = 0;
    socket_option(socket, libc::SO_ERROR, &mut error)?;
    if error == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn socket_address(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeroes is a valid value; both address types fit into it.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let place = &raw mut storage;
        let size = match address {
            SocketAddr::V4(v4) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                place.cast::<libc::sockaddr_in>().write(v4);
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                place.cast::<libc::sockaddr_in6>().write(v6);
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, size as libc::socklen_t)
    }
}

/// Options of every data socket: no delay, and a dead host is noticed in half a
/// minute.
pub fn tune_tcp(socket: BorrowedFd<'_>) -> io::Result<()> {
    let options = [
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 10),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 5),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 30_000),
    ];
    for (level, name, value) in options {
        let value: c_int = value;
        let size = size_of::<c_int>() as libc::socklen_t;
        let place = (&raw const value).cast();
        // SAFETY: `place` points to `size` bytes.
        unsafe { check(libc::setsockopt(socket.as_raw_fd(), level, name, place, size)) }?;
    }
    Ok(())
}

/// Sends from two places in turn; never raises SIGPIPE. `more`: another send follows.
///
/// # Safety
/// `data` must be readable for `len` bytes.
pub unsafe fn send_two(
    socket: BorrowedFd<'_>,
    first: &[u8],
    data: *const u8,
    len: usize,
) -> io::Result<usize> {
    let mut parts = [
        libc::iovec { iov_base: first.as_ptr().cast_mut().cast(), iov_len: first.len() },
        libc::iovec { iov_base: data.cast_mut().cast(), iov_len: len },
    ];
    // SAFETY: the caller vouches for `data`; all zeroes is an empty message.
    let n = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = 2;
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Receives what is there, without waiting. 0: the peer hung up.
///
/// # Safety
/// `data` must be writable for `len` bytes.
pub unsafe fn receive(socket: BorrowedFd<'_>, data: *mut u8, len: usize) -> io::Result<usize> {
    // SAFETY: the caller vouches for `data`.
    let n = unsafe { libc::recv(socket.as_raw_fd(), data.cast(), len, libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// A network interface that is up: its name, address, and whether it is loopback.
pub fn interfaces() -> Vec<(String, IpAddr, u32, bool)> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    let mut found = Vec::new();
    // SAFETY: the list is the kernel's, walked once and freed; addresses are read
    // as the family says.
    unsafe {
        if libc::getifaddrs(&raw mut list) != 0 {
            return found;
        }
        let mut entry = list;
        while let Some(one) = entry.as_ref() {
            entry = one.ifa_next;
            let flags = one.ifa_flags as c_int;
            if one.ifa_addr.is_null() || flags & libc::IFF_UP == 0 {
                continue;
            }
            let name = CStr::from_ptr(one.ifa_name).to_string_lossy().into_owned();
            let loopback = flags & libc::IFF_LOOPBACK != 0;
            match c_int::from((*one.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = one.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                    found.push((name, IpAddr::V4(address), 0, loopback));
                }
                libc::AF_INET6 => {
                    let v6 = one.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                    found.push((name, IpAddr::V6(address), v6.sin6_scope_id, loopback));
                }
                _ => {}
            }
        }
        libc::freeifaddrs(list);
    }
    found
}
