//! What `packaging/` offers does what watchbell itself does.

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::client::{Reply, Server, prose};
use crate::support::skip::program;

/// An nginx that reads `packaging/nginx.conf`, changed as its first lines say; it ends with this.
struct Nginx {
    folder: tempfile::TempDir,
    program: std::path::PathBuf,
}

impl Nginx {
    fn start(program: std::path::PathBuf, server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let site = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/nginx.conf")).unwrap();
        let site = site
            .replace("listen 80;", &format!("listen unix:{};", path("socket")))
            .replace("listen [::]:80;", "")
            .replace("/var/cache/watchbell/public", server.root().to_str().unwrap())
            .replace("127.0.0.1:8080", &server.address.to_string());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", path(name)))
            .concat();
        let config = format!(
            "user root;\npid {pid};\nerror_log {log};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
             include /etc/nginx/mime.types;\ndefault_type application/octet-stream;\n{site}\n}}\n",
            pid = path("pid"),
            log = path("log"),
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let nginx = Self { folder, program };
        // It goes to the background when it listens.
        let output = nginx.command().stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        nginx
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(self.folder.path()).arg("-c").arg(self.folder.path().join("nginx.conf"));
        command
    }

    fn ask(&self, request: &str) -> Reply {
        let mut stream = UnixStream::connect(self.folder.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(&mut stream)
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.command().args(["-s", "stop"]).stderr(Stdio::null()).status();
    }
}

#[test]
fn nginx_serves_the_site_as_watchbell_does() {
    let Some(program) = program("nginx") else { crate::skip!("nginx is not installed") };
    if !Path::new("/etc/nginx/mime.types").exists() {
        crate::skip!("/etc/nginx/mime.types is not there");
    }
    let server = Server::start();
    let paths = [
        "index.html",
        "404.html",
        "services/api/index.html",
        "updates.rss",
        "updates.atom",
        "feed.json",
        "services/api/feed.json",
        "api/v2/summary.json",
        "maintenance.ics",
        "services/api/outages.csv",
        "badge/api/status.svg",
        "assets/site.0123456789abcdef.css",
        "robots.txt",
        "sitemap.xml",
        "logo.png",
        ".well-known/security.txt",
    ];
    for path in paths {
        server.publish(path, format!("{path}{}", prose(2000)));
    }
    server.publish(".index.html.wb-tmp", "half");
    server.publish("empty/.keep", "");
    let nginx = Nginx::start(program, &server);

    let same = |path: &str, ours: &Reply, theirs: &Reply| {
        assert_eq!((ours.status, &ours.body), (theirs.status, &theirs.body), "{path}");
        for name in [
            "content-type",
            "cache-control",
            "access-control-allow-origin",
            "cross-origin-resource-policy",
            "cross-origin-opener-policy",
            "x-content-type-options",
            "x-frame-options",
            "content-security-policy",
            "referrer-policy",
            "permissions-policy",
            "x-robots-tag",
            "retry-after",
        ] {
            let normal = |reply: &Reply| reply.header(name).map(|value| value.replace("application/xml", "text/xml"));
            assert_eq!(normal(ours), normal(theirs), "{name} of {path}");
        }
        let count = |reply: &Reply| reply.head.to_lowercase().matches("content-security-policy").count();
        assert_eq!(count(theirs), 1, "{path}");
    };
    for path in paths {
        let path = format!("/{path}");
        same(&path, &server.get(&path), &nginx.get(&path));
    }
    for path in ["/", "/services/api/", "/healthz", "/unsubscribe/abc"] {
        same(path, &server.get(path), &nginx.get(path));
    }
    for missing in ["/nothing", "/empty/", "/.index.html.wb-tmp", "/services/.x"] {
        let (ours, theirs) = (server.get(missing), nginx.get(missing));
        assert_eq!((ours.status, theirs.status), (404, 404), "{missing}");
        assert_eq!(ours.body, theirs.body, "{missing}");
    }
    let moved = nginx.get("/services/api");
    assert_eq!(moved.status, 301);
    moved.has("location", "/services/api/");

    let packed =
        nginx.ask("GET /updates.rss HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n");
    packed.has("content-encoding", "gzip");
    assert!(packed.header("vary").is_some());

    let left = nginx.ask(
        "POST /unsubscribe/abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n\r\nList-Unsubscribe=One-Click",
    );
    assert_eq!(left.status, 200, "{}", left.head);
    assert_eq!(*server.desk.unsubscribed.lock().unwrap(), ["abc"]);
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let Some(analyze) = program("systemd-analyze") else { crate::skip!("systemd-analyze is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/watchbell.service")).unwrap();
    // The program need not be installed here.
    let path = folder.path().join("watchbell.service");
    fs::write(&path, unit.replace("/usr/local/bin/watchbell", "/bin/true")).unwrap();
    let output = Command::new(analyze).arg("verify").arg("--man=no").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_health_check_of_the_image_tells_well_from_ill() {
    let Some(bash) = program("bash") else { crate::skip!("bash is not installed") };
    let server = Server::start();
    let ask = |port: u16| {
        let output = Command::new(&bash)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/health"))
            .env("WATCHBELL_HEALTH", format!("127.0.0.1/{port}"))
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let port = server.address.port();
    assert_eq!(ask(port), (true, "ok\n".to_owned()));
    *server.desk.ailment.lock().unwrap() = Some("no probe has run for 2 min".into());
    assert_eq!(ask(port), (false, "no probe has run for 2 min\n".to_owned()));
    drop(server);
    assert!(!ask(port).0, "nobody there");
}
