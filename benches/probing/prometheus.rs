//! The anchor that people run: prometheus has `blackbox_exporter` ask every service, as Debian ships
//! the two.

use std::{
    fmt::Write as _,
    fs, io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::farm;
use crate::support::{daemon::free_address, process::Process};

/// The two programs.
pub const PROGRAMS: [&str; 2] = ["prometheus", "prometheus-blackbox-exporter"];

/// Starts both in `folder`.
pub fn start(folder: &Path, port: u16, services: usize, every: Duration) -> io::Result<[Process; 2]> {
    let (prometheus, blackbox) = (free_address()?, free_address()?);
    fs::write(folder.join("blackbox.yml"), "modules:\n  http_2xx:\n    prober: http\n")?;
    let mut config = format!(
        "global: {{ scrape_interval: {0}ms, scrape_timeout: {0}ms }}
scrape_configs:
  - job_name: bench
    metrics_path: /probe
    params: {{ module: [http_2xx] }}
    relabel_configs:
      - {{ source_labels: [__address__], target_label: __param_target }}
      - {{ source_labels: [__param_target], target_label: instance }}
      - {{ target_label: __address__, replacement: \"{blackbox}\" }}
    static_configs:
      - targets:
",
        every.as_millis()
    );
    for n in 0..services {
        let _ = writeln!(config, "          - http://{}:{port}/", farm::address(n));
    }
    fs::write(folder.join("prometheus.yml"), config)?;
    let run = |program: &str, args: &[String]| {
        let log = fs::File::create(folder.join(format!("{program}.log")))?;
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Process::start(&mut command)
    };
    let exporter = ["--config.file=blackbox.yml".to_owned(), format!("--web.listen-address={blackbox}")];
    let server = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        format!("--web.listen-address={prometheus}"),
    ];
    let [server_name, exporter_name] = PROGRAMS;
    Ok([run(server_name, &server)?, run(exporter_name, &exporter)?])
}
