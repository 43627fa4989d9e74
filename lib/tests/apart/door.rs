//! The door of a gateway, which lets everything through or behaves as a gateway that is ill.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::gateways::wire::Peer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Open,
    /// Takes every request in, and lets no answer out.
    Silent,
    /// Answers 503 itself.
    Failing,
}

pub struct Door {
    pub base: String,
    manner: watch::Sender<Manner>,
    /// Requests that were answered with 503.
    failed: Arc<AtomicUsize>,
}

impl Door {
    /// In front of what is to be found at `base`.
    pub async fn of(base: &str, manner: Manner) -> Self {
        let target = base.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (manner, failed) = (watch::Sender::new(manner), Arc::new(AtomicUsize::new(0)));
        let (mut manners, failing) = (manner.subscribe(), failed.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let now = *manners.borrow_and_update();
                let (mut until, target, failing) = (manners.clone(), target.clone(), failing.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(near, now, &target, &failing) => {}
                        _ = until.changed() => {}
                    }
                });
            }
        });
        Self { base, manner, failed }
    }

    /// From now on, for everybody: whoever is inside is put out.
    pub fn becomes(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }
}

async fn serve(mut near: TcpStream, manner: Manner, target: &str, failed: &AtomicUsize) {
    match manner {
        Manner::Open => {
            let mut far = TcpStream::connect(target).await.unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
        }
        Manner::Silent => {
            let (mut asked, _unheard) = near.split();
            let (_answers, mut asking) = TcpStream::connect(target).await.unwrap().into_split();
            tokio::io::copy(&mut asked, &mut asking).await.ok();
        }
        Manner::Failing => {
            let mut peer = Peer(near);
            while peer.request().await.is_some() {
                failed.fetch_add(1, Ordering::SeqCst);
                peer.answer(503, "").await;
            }
            peer.0.shutdown().await.ok();
        }
    }
}
