//! Sockets that accept: TCP, and files that programs on this machine connect to.

use super::arrival::Peer;
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net,
    },
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, ToSocketAddrs, UnixListener, UnixStream},
};

/// How long written data may stay unacknowledged by the peer's machine before the connection counts as broken.
const USER_TIMEOUT: Duration = Duration::from_secs(45);

/// Connections that may wait to be accepted; the kernel's own limit (`net.core.somaxconn`) if that is less. Beyond it a
/// client may believe it is connected while the kernel has forgotten it.
const BACKLOG: i32 = 4096;

/// The owner of the gateway's process and its group may connect.
const MODE: u32 = 0o660;

/// Listens on a TCP address.
pub async fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    // tokio's own queue holds 128: less than a storm of clients that come back together
    SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

/// Where connections of one kind come from.
pub trait Accepts: Send + Sync + 'static {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next one, and tells who is at its other end.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;

    /// Makes a connection ready for use; an error if it is gone already. Answers our end of it.
    fn prepare(stream: &Self::Stream) -> io::Result<Option<SocketAddr>>;
}

impl Accepts for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        Ok((stream, peer.into()))
    }

    /// No delay for small packets; a peer that vanished without a word is noticed.
    fn prepare(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15))
            .with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        stream.local_addr().map(Some)
    }
}

impl Accepts for SocketFile {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, Peer::Local))
    }

    fn prepare(_: &UnixStream) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }
}

/// A socket in the file system. The file goes with it.
#[derive(Debug)]
pub struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is, in case another one has taken its place.
    inode: u64,
}

impl SocketFile {
    /// Listens at `path`. A socket that nobody serves any more is replaced; anything else there is an error.
    pub fn bind(path: PathBuf) -> io::Result<Self> {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.file_type().is_socket() => replace(&path)?,
            Ok(_) => {
                let what = "there is a file of this name that is no socket";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        // before anybody can connect
        fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
        let inode = fs::symlink_metadata(&path)?.ino();
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(SocketFile {
            listener: UnixListener::from_std(socket.into())?,
            path,
            inode,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|it| it.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes way at `path`, if whoever listened there is gone.
fn replace(path: &Path) -> io::Result<()> {
    match net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process serves this socket",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// One way in, bound.
#[derive(Debug)]
pub enum Bound {
    /// At an address.
    Tcp(TcpListener),
    /// At a path.
    Unix(SocketFile),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn hundreds_that_come_together_wait_to_be_accepted() {
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        for _ in 0..400 {
            clients.push(TcpStream::connect(address));
        }
        let connected = futures_util::future::join_all(clients);
        let accepting = async {
            let _clients = connected.await;
            for _ in 0..400 {
                listener.accept().await.unwrap();
            }
        };
        let accepted = tokio::time::timeout(Duration::from_secs(20), accepting).await;
        accepted.unwrap();
    }

    #[tokio::test]
    async fn a_socket_is_for_owner_and_group_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = SocketFile::bind(path.clone()).unwrap();
        assert_eq!(mode(&path), 0o660);
        let (accepted, connected) = tokio::join!(socket.accept(), UnixStream::connect(&path));
        assert_eq!(accepted.unwrap().1, Peer::Local);
        drop((connected, socket));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_serves_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        // what a process leaves behind that is killed
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let served = SocketFile::bind(path.clone()).unwrap();
        let refused = SocketFile::bind(path.clone()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(served);
        fs::write(&path, "a letter").unwrap();
        let refused = SocketFile::bind(path.clone()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"a letter");
    }

    #[tokio::test]
    async fn a_file_that_took_the_place_of_the_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = SocketFile::bind(path.clone()).unwrap();
        // two names, so that the number of the first file is not free for the second one
        fs::rename(&path, folder.path().join("t")).unwrap();
        fs::write(&path, "a letter").unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
