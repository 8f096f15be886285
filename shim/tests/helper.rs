//! Helper processes, in a test process of their own.

use std::time::Duration;

use shim::helper::run;
use shim::reactor;

#[test]
fn a_helper_reports_what_happened() {
    reactor::run(async {
        let long = Duration::from_secs(60);
        run("nothing", long, || Ok::<_, String>(())).await.unwrap();
        let failed = run("fail", long, || Err("no such thing")).await.unwrap_err();
        assert_eq!(failed.to_string(), "no such thing");
        let short = Duration::from_millis(20);
        let slow = run("sleep", short, || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                if std::process::id() == 0 {
                    return Err("never");
                }
            }
        });
        assert_eq!(slow.await.unwrap_err().to_string(), "sleep: gave up after 20ms");
        let dead = run("die", long, || -> Result<(), &str> { std::process::abort() }).await.unwrap_err();
        assert_eq!(dead.to_string(), "die: helper process: ended with status 134");
    })
    .unwrap();
}
