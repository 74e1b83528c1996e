//! From sockets to who is connected to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::facts::{Holder, Sockets, TcpSocket};

/// Where systemd's own sockets are.
const SYSTEMD: &str = "/run/systemd/";

/// The first process, which holds the sockets that it passes on to services.
const INIT: &str = "init.scope";

/// Who listens where, and who is connected to whom.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Where each listens.
    pub(super) listens: BTreeMap<Holder, BTreeSet<String>>,
    /// Who is connected to whom, and by which address. A server that is not known may be looked at by nobody but root.
    pub(super) connected: BTreeSet<(Holder, Option<Holder>, String)>,
}

impl Links {
    pub(super) fn of(sockets: &Sockets) -> Self {
        let mut links = Self::default();
        links.add_tcp(sockets);
        links.add_unix(sockets);
        links
    }

    fn add_tcp(&mut self, sockets: &Sockets) {
        let tcp: Vec<TcpSocket> = sockets.tcp.iter().map(canonical).collect();
        let mut listening: BTreeMap<(u64, u16), Vec<&TcpSocket>> = BTreeMap::new();
        let mut ends: BTreeMap<(u64, SocketAddr, SocketAddr), &TcpSocket> = BTreeMap::new();
        for socket in &tcp {
            if socket.listens {
                listening.entry((socket.network, socket.local.port())).or_default().push(socket);
                self.listen(sockets.holder(socket.inode), &socket.local.to_string());
            } else {
                ends.insert((socket.network, socket.local, socket.remote), socket);
            }
        }
        for socket in tcp.iter().filter(|socket| !socket.listens) {
            // Without its other end it leads to another machine, or into another name space.
            let Some(other) = ends.get(&(socket.network, socket.remote, socket.local)) else { continue };
            let listeners = listening.get(&(socket.network, socket.remote.port())).into_iter().flatten();
            // Of the two the client is the one whose other end is listened on.
            let Some(listener) = listeners.copied().find(|listener| takes(listener.local.ip(), socket.remote.ip())) else { continue };
            let server = sockets.holder(other.inode).or_else(|| sockets.holder(listener.inode));
            self.connect(sockets.holder(socket.inode), server, &socket.remote.to_string());
        }
    }

    fn add_unix(&mut self, sockets: &Sockets) {
        let listening = sockets.unix.iter().filter(|socket| socket.listens);
        let listening: BTreeMap<&str, u64> = listening.filter_map(|socket| Some((socket.path.as_deref()?, socket.inode))).collect();
        for (path, inode) in &listening {
            self.listen(sockets.holder(*inode), path);
        }
        for socket in sockets.unix.iter().filter(|socket| !socket.listens) {
            if let (Some(path), Some(peer)) = (socket.path.as_deref(), socket.peer)
                && let Some(listener) = listening.get(path)
                && !is_of_systemd(path)
            {
                let server = sockets.holder(socket.inode).or_else(|| sockets.holder(*listener));
                self.connect(sockets.holder(peer), server, path);
            }
        }
    }

    fn listen(&mut self, holder: Option<&Holder>, address: &str) {
        if let Some(holder) = holder {
            self.listens.entry(holder.clone()).or_default().insert(address.to_owned());
        }
    }

    fn connect(&mut self, client: Option<&Holder>, server: Option<&Holder>, address: &str) {
        if let Some(client) = client.filter(|client| server != Some(*client)) {
            self.connected.insert((client.clone(), server.cloned(), address.to_owned()));
        }
    }
}

impl Sockets {
    /// Whose a socket is. Of several, a declared unit comes first, and the one that only passes it on comes last.
    fn holder(&self, inode: u64) -> Option<&Holder> {
        let holders = self.holders.get(&inode)?;
        let passes_on = |holder: &&Holder| matches!(holder, Holder::Systemd(name) if name == INIT);
        holders.iter().find(|holder| !passes_on(holder)).or_else(|| holders.first())
    }
}

/// With addresses of IPv4 as what they are, wherever they are written as addresses of IPv6.
fn canonical(socket: &TcpSocket) -> TcpSocket {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    TcpSocket { local: canonical(socket.local), remote: canonical(socket.remote), ..*socket }
}

/// Whether what listens on `local` takes connections to `address`.
fn takes(local: IpAddr, address: IpAddr) -> bool {
    // One that listens on every address of IPv6 usually takes those of IPv4, too.
    local == address || local.is_unspecified() && (local.is_ipv6() || address.is_ipv4())
}

/// Whether it is a socket of systemd's own.
pub(super) fn is_of_systemd(path: &str) -> bool {
    path.starts_with(SYSTEMD)
}
