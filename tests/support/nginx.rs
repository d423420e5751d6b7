//! A real nginx whose page is switched between good, failing, slow and closed.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    daemon::{free_address, wait_for},
    http,
};

/// Where the program is, if it is installed.
pub fn installed() -> Option<PathBuf> {
    super::skip::program("nginx")
}

/// How a page is answered.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    /// 200 and the word `ok`.
    Good,
    /// 503.
    Failing,
    /// A byte a second.
    Slow,
    /// The connection is closed without a word.
    Closed,
}

/// A running nginx with a folder of its own.
pub struct Nginx {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
}

impl Nginx {
    /// One that serves `/health` as good.
    pub fn start(folder: &Path) -> Self {
        let folder = folder.join("nginx");
        fs::create_dir_all(folder.join("tmp")).unwrap();
        let address = free_address();
        let nginx = installed().expect("nginx is installed");
        write_config(&folder, address, Page::Good);
        let child = Command::new(nginx)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("error.log")).unwrap())
            .spawn()
            .unwrap();
        let nginx = Self { child, address, folder };
        nginx.wait_for(Page::Good);
        nginx
    }

    /// Serves `/health` like this from now on; returns once it does.
    pub fn serve(&self, page: Page) {
        write_config(&self.folder, self.address, page);
        let status = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.wait_for(page);
    }

    fn wait_for(&self, page: Page) {
        wait_for("nginx with its new page", Duration::from_secs(10), || {
            let answer = http::get(self.address, "/which").map(|answer| answer.text());
            (answer? == format!("{page:?}")).then_some(())
        });
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn write_config(folder: &Path, address: SocketAddr, page: Page) {
    let root = folder.display();
    let health = match page {
        Page::Good => r#"return 200 "ok";"#,
        Page::Failing => "return 503;",
        Page::Slow => "limit_rate 1; alias slow.txt;",
        Page::Closed => "return 444;",
    };
    fs::write(folder.join("slow.txt"), "ok ".repeat(4000)).unwrap();
    let config = format!(
        r#"daemon off;
worker_processes 1;
pid {root}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
    uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
    server {{
        listen {address};
        location = /health {{ {health} }}
        location = /which {{ return 200 "{page:?}"; }}
    }}
}}
"#
    )
    .replace("alias slow.txt", &format!("alias {root}/slow.txt"));
    fs::write(folder.join("nginx.conf"), config).unwrap();
}
