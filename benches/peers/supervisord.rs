//! supervisord: one Python process, output through pipes into log files.

use std::process::Command;

use crate::Fault;
use crate::peer::{Peer, lacks};
use crate::site::Site;

pub(crate) struct Supervisord;

impl Peer for Supervisord {
    fn name(&self) -> &'static str {
        "supervisord"
    }

    fn missing(&self) -> Option<&'static str> {
        lacks("supervisord")
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let (directory, child, page) = (site.path().display(), site.child.display(), site.page.path().display());
        let settings = format!(
            "[unix_http_server]\nfile={directory}/control\n\
             [supervisord]\nnodaemon=true\nuser=root\nlogfile={directory}/supervisord.log\npidfile={directory}/pid\nminfds=8192\nchildlogdir={directory}\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{directory}/control\n\
             [program:u]\ncommand={child} %(process_num)d {page}\nprocess_name=%(program_name)s%(process_num)d\nnumprocs={}\n\
             autorestart=true\nstartsecs=0\nredirect_stderr=true\nstdout_logfile={directory}/%(program_name)s%(process_num)d.log\n",
            site.units
        );
        let file = site.path().join("supervisord.conf");
        std::fs::write(&file, settings)?;
        let mut command = Command::new("supervisord");
        command.arg("-c").arg(file);
        Ok(command)
    }

    fn status(&self, site: &Site) -> Option<Command> {
        let mut command = Command::new("supervisorctl");
        command.arg("-c").arg(site.path().join("supervisord.conf")).arg("status");
        Some(command)
    }
}
